<?php

// A small `artisan` with the documented command for Laravel, on the console of Debian's php-illuminate-console.

use Illuminate\Console\Application;
use Illuminate\Container\Container;
use Illuminate\Events\Dispatcher;

require 'Illuminate/Console/autoload.php';
require 'Illuminate/Container/autoload.php';
require 'Illuminate/Events/autoload.php';
require 'PhpAmqpLib/autoload.php';
require __DIR__ . '/../../../docs/consumers/php/CallEvents.php';
require __DIR__ . '/../../../docs/consumers/php/ConsumeCallEvents.php';

$container = new Container();
$artisan = new Application($container, new Dispatcher($container), '1');
$artisan->add(new App\Console\Commands\ConsumeCallEvents());
exit($artisan->run());
