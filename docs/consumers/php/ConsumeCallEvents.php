<?php

namespace App\Console\Commands;

use CallEvents;
use Illuminate\Console\Command;

/**
 * A command for Laravel: `php artisan call-events:consume`. Put it in app/Console/Commands.
 *
 * `queue:work` is not for these messages: it expects Laravel's own jobs, and a call event is plain JSON.
 */
class ConsumeCallEvents extends Command
{
    protected $signature = 'call-events:consume {url} {queue=call-events}';

    protected $description = 'Consume call events from RabbitMQ';

    public function handle(): int
    {
        (new CallEvents($this->argument('url'), $this->argument('queue')))->consume(function (array $event): void {
            // Your work. In a database, insert the message's id in the same transaction, into a unique column.
            $this->line("{$event['call_id']} {$event['event_type']} {$event['timestamp']}");
        });
        return self::FAILURE;
    }
}
