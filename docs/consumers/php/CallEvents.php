<?php

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

/**
 * Consumes call events: discards duplicates, acknowledges handled events, and returns an event that it cannot handle.
 *
 * docs/consumers.md has the policy with which RabbitMQ parks an event that was returned too often.
 */
final class CallEvents
{
    /** The exchange and the queue of events that were returned too often. */
    private const PARKED = 'call-events.parked';
    /** Messages that RabbitMQ sends before their acknowledgement. */
    private const PREFETCH = 100;
    /** Before an event is returned. It must not come again at once. */
    private const PAUSE_SECONDS = 1;
    private const REMEMBERED_MAX = 100000;

    /** @var array<string, true> */
    private array $seen = [];

    public function __construct(private string $url, private string $queue = 'call-events')
    {
    }

    /**
     * Calls `$handle` with each event as an array. Throws when the connection or the queue is lost: let systemd or
     * Supervisor start the process again.
     */
    public function consume(callable $handle): void
    {
        $channel = $this->connect()->channel();
        $channel->exchange_declare(self::PARKED, 'fanout', false, true, false);
        $quorum = new AMQPTable(['x-queue-type' => 'quorum']);
        $channel->queue_declare(self::PARKED, false, true, false, false, false, $quorum);
        $channel->queue_bind(self::PARKED, self::PARKED);
        $channel->queue_declare($this->queue, true); // passive: the service declares it
        $channel->basic_qos(0, self::PREFETCH, false);
        $take = fn (AMQPMessage $message) => $this->take($message, $handle);
        $channel->basic_consume($this->queue, '', false, false, false, false, $take);
        while ($channel->is_consuming()) {
            $channel->wait();
        }
        throw new RuntimeException('The queue was deleted.');
    }

    private function connect(): AMQPStreamConnection
    {
        $parts = parse_url($this->url);
        return new AMQPStreamConnection(
            $parts['host'],
            $parts['port'] ?? 5672,
            urldecode($parts['user'] ?? 'guest'),
            urldecode($parts['pass'] ?? 'guest'),
            urldecode(substr($parts['path'] ?? '', 1)) ?: '/',
            keepalive: true, // instead of heartbeats, which this library sends only while it waits
        );
    }

    private function take(AMQPMessage $message, callable $handle): void
    {
        $id = $message->has('message_id') ? $message->get('message_id') : '';
        if (isset($this->seen[$id])) {
            $message->ack();
            return;
        }
        try {
            $handle(json_decode($message->getBody(), true, 512, JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING));
        } catch (Throwable $error) {
            error_log("event $id: {$error->getMessage()}");
            sleep(self::PAUSE_SECONDS);
            $message->reject(true); // `nack` would not count against the delivery limit of RabbitMQ 4
            return;
        }
        if ($id !== '') {
            $this->seen[$id] = true;
        }
        if (count($this->seen) > self::REMEMBERED_MAX) {
            unset($this->seen[array_key_first($this->seen)]); // the oldest
        }
        $message->ack();
    }
}
