import com.rabbitmq.client.Channel;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/**
 * An example consumer: it discards duplicates, acknowledges handled events, and returns an event that it cannot handle.
 *
 * <pre>java -cp amqp-client.jar:slf4j-api.jar Consumer.java amqp://guest:guest@localhost</pre>
 *
 * docs/consumers.md has the policy with which RabbitMQ parks an event that was returned too often.
 */
public final class Consumer {
    /** The exchange and the queue of events that were returned too often. */
    private static final String PARKED = "call-events.parked";
    /** Messages that RabbitMQ sends before their acknowledgement. */
    private static final int PREFETCH = 100;
    /** Before an event is returned. It must not come again at once. */
    private static final long PAUSE_MS = 1000;
    private static final int REMEMBERED_MAX = 100_000;

    private final Channel channel;
    private final Set<String> seen = Collections.newSetFromMap(new LinkedHashMap<>() {
        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
            return size() > REMEMBERED_MAX;
        }
    });

    private Consumer(Channel channel) {
        this.channel = channel;
    }

    /** Your work; a real one parses the JSON. */
    private static void handle(String event) {
        if (!event.startsWith("{")) {
            throw new IllegalArgumentException("no JSON object: " + event);
        }
        System.out.println(event);
    }

    private void take(Delivery delivery) throws IOException {
        String id = delivery.getProperties().getMessageId();
        long tag = delivery.getEnvelope().getDeliveryTag();
        if (seen.contains(id)) {
            channel.basicAck(tag, false);
            return;
        }
        try {
            handle(new String(delivery.getBody(), StandardCharsets.UTF_8).trim());
        } catch (RuntimeException error) {
            System.err.println("event " + id + ": " + error);
            pause();
            channel.basicReject(tag, true); // basicNack would not count against the delivery limit of RabbitMQ 4
            return;
        }
        if (id != null) {
            seen.add(id);
        }
        channel.basicAck(tag, false);
    }

    private static void pause() {
        try {
            Thread.sleep(PAUSE_MS);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    public static void main(String[] args) throws Exception {
        String queue = args.length > 1 ? args[1] : "call-events";
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(args[0]); // "/" at its end would name a vhost without a name
        Channel channel = factory.newConnection().createChannel();
        channel.exchangeDeclare(PARKED, "fanout", true);
        channel.queueDeclare(PARKED, true, false, false, Map.of("x-queue-type", "quorum"));
        channel.queueBind(PARKED, PARKED, "");
        channel.queueDeclarePassive(queue); // the service declares it
        channel.basicQos(PREFETCH);
        Consumer consumer = new Consumer(channel);
        channel.basicConsume(queue, false, (tag, delivery) -> consumer.take(delivery), tag -> {
            System.err.println("The queue was deleted.");
            System.exit(1);
        });
    }
}
