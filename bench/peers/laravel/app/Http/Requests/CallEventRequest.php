<?php

namespace App\Http\Requests;

use Illuminate\Foundation\Http\FormRequest;

class CallEventRequest extends FormRequest
{
    public function authorize(): bool
    {
        return true;
    }

    public function rules(): array
    {
        return [
            'call_id' => 'required|string|max:255',
            'from_number' => 'required|string|max:128',
            'to_number' => 'required|string|max:128',
            'event_type' => 'required|string|max:64',
            'timestamp' => 'required|date',
            'duration' => 'required_if:event_type,call_ended|nullable|integer|min:0|max:2147483647',
        ];
    }
}
