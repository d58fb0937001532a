<?php

/*
 * Prints call events:
 *
 *     composer require php-amqplib/php-amqplib
 *     php consumer.php amqp://guest:guest@localhost/
 *
 * The autoloader is composer's, or that of Debian's package php-amqplib.
 */

require is_file(__DIR__ . '/vendor/autoload.php') ? __DIR__ . '/vendor/autoload.php' : 'PhpAmqpLib/autoload.php';
require __DIR__ . '/CallEvents.php';

(new CallEvents($argv[1], $argv[2] ?? 'call-events'))->consume(function (array $event): void {
    echo "{$event['call_id']} {$event['event_type']} {$event['timestamp']}\n";
});
