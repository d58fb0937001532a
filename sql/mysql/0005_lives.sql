-- life is a random value of the worker that holds the slot, replaced at each renewal. A worker that finds another value
-- has lost the slot. Workers of earlier versions do not change it. MySQL has no ADD COLUMN IF NOT EXISTS.
SET @ingest_lives = IF(
    EXISTS (
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'ingest_slots' AND column_name = 'life'
    ),
    'DO 0',
    'ALTER TABLE ingest_slots ADD COLUMN life CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '''''
);
PREPARE ingest_lives FROM @ingest_lives;
EXECUTE ingest_lives;
DEALLOCATE PREPARE ingest_lives;
