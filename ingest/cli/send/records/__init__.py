"""`ingest send --client NAME DIR`: posts records that a telephony server left on its disk, one per file."""
