-- scope says what a token may do: post, or some of read, read-numbers and operate, separated by commas. MySQL has no
-- ADD COLUMN IF NOT EXISTS.
SET @ingest_scopes = IF(
    EXISTS (
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'ingest_tokens' AND column_name = 'scope'
    ),
    'DO 0',
    'ALTER TABLE ingest_tokens ADD COLUMN scope VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT ''post'''
);
PREPARE ingest_scopes FROM @ingest_scopes;
EXECUTE ingest_scopes;
DEALLOCATE PREPARE ingest_scopes;
