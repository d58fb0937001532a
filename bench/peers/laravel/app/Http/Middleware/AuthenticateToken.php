<?php

namespace App\Http\Middleware;

use Closure;
use Illuminate\Auth\AuthenticationException;
use Illuminate\Http\Request;

class AuthenticateToken
{
    public function handle(Request $request, Closure $next): mixed
    {
        if (!hash_equals(config('app.api_token'), (string) $request->header('X-API-TOKEN'))) {
            throw new AuthenticationException();
        }

        return $next($request);
    }
}
