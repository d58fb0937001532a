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
    'failed' => ['driver' => null], // a job is tried until it is published
    'amqp' => [
        'url' => env('AMQP_URL'),
        'queue' => env('QUEUE'),
    ],
];
