<?php

namespace App\Models;

use Illuminate\Database\Eloquent\Model;

class CallEventLog extends Model
{
    public $timestamps = false;

    protected $guarded = [];

    protected $casts = ['payload' => 'array', 'created_time' => 'datetime'];
}
