<?php

namespace App\Http\Controllers;

use App\Http\Requests\CallEventRequest;
use App\Jobs\PublishCallEvent;
use Illuminate\Http\JsonResponse;
use Illuminate\Routing\Controller;
use Illuminate\Support\Facades\DB;

class CallEventController extends Controller
{
    private const RANDOM_BITS = 22;

    /** The row and its job are one transaction: no event without a message. */
    public function __invoke(CallEventRequest $request): JsonResponse
    {
        $id = $this->newId();
        $body = $request->getContent();
        DB::transaction(function () use ($id, $body, $request): void {
            DB::table('call_event_logs')->insert([
                'id' => $id,
                'call_id' => $request->input('call_id'),
                'event_type' => $request->input('event_type'),
                'payload' => $body,
                'created_time' => now('UTC')->format('Y-m-d H:i:s.u'),
            ]);
            PublishCallEvent::dispatch($id, $request->input('event_type'), $body);
        });

        return new JsonResponse(['status' => 'queued']);
    }

    /** 41 bits of milliseconds, then chance: the processes do not know of each other. */
    private function newId(): int
    {
        return (int) (microtime(true) * 1000) << self::RANDOM_BITS | random_int(0, (1 << self::RANDOM_BITS) - 1);
    }
}
