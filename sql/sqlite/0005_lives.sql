-- Which life of which worker holds a slot: a random value, written anew at each renewal. Whoever finds another one there
-- has lost the slot. Workers of earlier versions leave it as it is.
ALTER TABLE ingest_slots ADD COLUMN life TEXT NOT NULL DEFAULT '';
