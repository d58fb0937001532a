<?php

namespace App\Exceptions;

use Illuminate\Foundation\Exceptions\Handler as ExceptionHandler;
use Throwable;

class Handler extends ExceptionHandler
{
    /** It is an API: every error is answered in JSON, whatever the client accepts. */
    protected function shouldReturnJson($request, Throwable $e)
    {
        return true;
    }
}
