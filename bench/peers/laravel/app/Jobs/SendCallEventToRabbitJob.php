<?php

namespace App\Jobs;

use App\Models\CallEventLog;
use App\Publishing\ConfirmedPublisher;
use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Foundation\Bus\Dispatchable;
use Illuminate\Queue\InteractsWithQueue;
use Illuminate\Queue\SerializesModels;
use Illuminate\Support\Facades\Log;

/** The original's job. It holds the event, or its row, which Laravel keeps by the id. */
class SendCallEventToRabbitJob implements ShouldQueue
{
    use Dispatchable, InteractsWithQueue, Queueable, SerializesModels;

    public function __construct(protected array|CallEventLog $event)
    {
        $this->onQueue('call-events');
    }

    public function handle(ConfirmedPublisher $publisher): void
    {
        $event = is_array($this->event) ? $this->event : $this->event->payload;
        try {
            $publisher->declareQueue();
            $publisher->publish('', $event['event_type'], json_encode($event));
        } catch (\Throwable $error) {
            Log::error('RabbitMQ publish failed', ['reason' => $error->getMessage()]);
            throw $error;
        }
    }
}
