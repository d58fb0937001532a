<?php

namespace App\Http\Controllers;

use App\Http\Requests\CallEventRequest;
use App\Jobs\SendCallEventToRabbitJob;
use App\Models\CallEventLog;
use Illuminate\Http\JsonResponse;
use Illuminate\Routing\Controller;
use Illuminate\Support\Facades\DB;

/** The original service: a row with a counted id, then a job in the queue. */
class OriginalController extends Controller
{
    public function __invoke(CallEventRequest $request): JsonResponse
    {
        self::take($request->json()->all());

        return new JsonResponse(['status' => 'queued']);
    }

    public static function take(array $event): void
    {
        DB::transaction(static function () use ($event): void {
            $row = CallEventLog::create([
                'call_id' => $event['call_id'],
                'event_type' => $event['event_type'],
                'payload' => $event,
                'created_time' => now(),
            ]);
            SendCallEventToRabbitJob::dispatch(config('app.original') === 'model' ? $row : $event);
        });
    }
}
