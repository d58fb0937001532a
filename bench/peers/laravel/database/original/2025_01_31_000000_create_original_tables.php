<?php

use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

/** The tables of the original service: an id that counts up, and a time of whole seconds. */
return new class extends Migration
{
    public function up(): void
    {
        Schema::create('call_event_logs', function (Blueprint $table): void {
            $table->id();
            $table->string('call_id')->index();
            $table->string('event_type');
            $table->json('payload');
            $table->timestamp('created_time')->useCurrent();
        });
        Schema::create('jobs', function (Blueprint $table): void {
            $table->bigIncrements('id');
            $table->string('queue')->index();
            $table->longText('payload');
            $table->unsignedTinyInteger('attempts');
            $table->unsignedInteger('reserved_at')->nullable();
            $table->unsignedInteger('available_at');
            $table->unsignedInteger('created_at');
        });
        Schema::create('failed_jobs', function (Blueprint $table): void {
            $table->id();
            $table->string('uuid')->unique();
            $table->text('connection');
            $table->text('queue');
            $table->longText('payload');
            $table->longText('exception');
            $table->timestamp('failed_at')->useCurrent();
        });
    }

    public function down(): void
    {
        foreach (['call_event_logs', 'jobs', 'failed_jobs'] as $table) {
            Schema::dropIfExists($table);
        }
    }
};
