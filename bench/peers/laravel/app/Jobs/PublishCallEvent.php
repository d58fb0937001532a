<?php

namespace App\Jobs;

use App\Publishing\ConfirmedPublisher;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Foundation\Bus\Dispatchable;

class PublishCallEvent implements ShouldQueue
{
    use Dispatchable;

    public int $backoff = 1;

    public function __construct(private int $id, private string $eventType, private string $body)
    {
    }

    public function handle(ConfirmedPublisher $publisher): void
    {
        $publisher->publish((string) $this->id, $this->eventType, $this->body);
    }
}
