<?php

// Debian installs libraries on PHP's include path, with an autoloader each, instead of vendor/.
require_once 'Illuminate/autoload.php';
require_once 'PhpAmqpLib/autoload.php';

spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'App\\')) {
        require dirname(__DIR__) . '/app/' . str_replace('\\', '/', substr($class, 4)) . '.php';
    }
});
