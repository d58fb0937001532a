<?php

namespace App\Providers;

use App\Publishing\ConfirmedPublisher;
use Illuminate\Support\ServiceProvider;

class AppServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        $this->app->singleton(
            ConfirmedPublisher::class,
            static fn () => new ConfirmedPublisher(config('queue.amqp.url'), config('queue.amqp.queue'))
        );
    }
}
