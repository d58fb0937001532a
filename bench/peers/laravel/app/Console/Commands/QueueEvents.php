<?php

namespace App\Console\Commands;

use App\Http\Controllers\OriginalController;
use Illuminate\Console\Command;

/** Stores events and queues their jobs, as many requests would. */
class QueueEvents extends Command
{
    protected $signature = 'call-events:queue {prefix} {count}';

    protected $description = 'Store events and queue their jobs';

    public function handle(): int
    {
        for ($number = 0; $number < (int) $this->argument('count'); $number++) {
            OriginalController::take([
                'call_id' => "{$this->argument('prefix')}-{$number}",
                'from_number' => '+994501234567',
                'to_number' => '+994701234567',
                'event_type' => 'call_ended',
                'timestamp' => '2025-11-30T10:00:00Z',
                'duration' => 40,
            ]);
        }

        return self::SUCCESS;
    }
}
