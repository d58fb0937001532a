"""`ingest send --follow FILE`: sends a growing file, across its rotations."""
