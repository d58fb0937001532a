<?php

namespace App\Publishing;

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Message\AMQPMessage;
use RuntimeException;

/** Publishes one message at a time and waits for its confirm; one connection for the process's life. */
class ConfirmedPublisher
{
    private const CONFIRM_SECONDS = 10;

    private ?AMQPChannel $channel = null;

    public function __construct(private string $url, private string $queue)
    {
    }

    /** Throws when the broker does not take the message, which leaves the job to be tried again. */
    public function publish(string $id, string $type, string $body): void
    {
        try {
            $this->channel ??= $this->open();
            $message = new AMQPMessage($body, [
                'content_type' => 'application/json',
                'delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT,
                'message_id' => $id,
                'type' => $type,
            ]);
            $this->channel->basic_publish($message, '', $this->queue, true);
            $this->channel->wait_for_pending_acks_returns(self::CONFIRM_SECONDS);
        } catch (\Throwable $error) {
            $this->channel = null;
            throw $error;
        }
    }

    /** As the original does before each message: a queue that is there already stays as it is. */
    public function declareQueue(): void
    {
        try {
            $this->channel ??= $this->open();
            $this->channel->queue_declare($this->queue, false, true, false, false);
        } catch (\Throwable $error) {
            $this->channel = null;
            throw $error;
        }
    }

    private function open(): AMQPChannel
    {
        $parts = parse_url($this->url);
        $vhost = urldecode(substr($parts['path'] ?? '/', 1)) ?: '/';
        $connection = new AMQPStreamConnection($parts['host'], $parts['port'], $parts['user'], $parts['pass'], $vhost);
        $channel = $connection->channel();
        $channel->confirm_select();
        $channel->set_nack_handler(static fn () => throw new RuntimeException('the broker refused a message'));
        $channel->set_return_listener(static fn () => throw new RuntimeException('the broker has no such queue'));

        return $channel;
    }
}
