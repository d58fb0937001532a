"""`ingest demo`: plays the calls of a small PBX."""
