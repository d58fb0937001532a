<?php

return [
    'default' => 'database',
    'connections' => [
        'database' => [
            'driver' => 'database',
            'table' => 'jobs',
            'queue' => 'default',
            'retry_after' => 90,
            'after_commit' => false, // the job is a row of the event's own transaction
        ],
    ],
    // The peer of benchmarks tries a job until it is published.
    'failed' => ['driver' => env('ORIGINAL') ? 'database-uuids' : null, 'database' => 'mysql', 'table' => 'failed_jobs'],
    'amqp' => [
        'url' => env('AMQP_URL'),
        'queue' => env('QUEUE'),
    ],
];
