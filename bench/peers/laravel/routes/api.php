<?php

use App\Http\Controllers\CallEventController;
use App\Http\Controllers\OriginalController;
use Illuminate\Support\Facades\Route;

$controller = config('app.original') ? OriginalController::class : CallEventController::class;
Route::post('call-events', $controller)->middleware('token');
