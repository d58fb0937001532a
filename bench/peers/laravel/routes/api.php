<?php

use App\Http\Controllers\CallEventController;
use Illuminate\Support\Facades\Route;

Route::post('call-events', CallEventController::class)->middleware('token');
