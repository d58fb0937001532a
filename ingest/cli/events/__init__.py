"""The commands of `ingest events`."""
