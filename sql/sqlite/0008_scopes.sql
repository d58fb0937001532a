-- scope says what a token may do: post, or some of read, read-numbers and operate, separated by commas.
ALTER TABLE ingest_tokens ADD COLUMN scope TEXT NOT NULL DEFAULT 'post';
