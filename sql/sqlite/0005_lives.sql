-- life is a random value of the worker that holds the slot, replaced at each renewal. A worker that finds another value
-- has lost the slot. Workers of earlier versions do not change it.
ALTER TABLE ingest_slots ADD COLUMN life TEXT NOT NULL DEFAULT '';
