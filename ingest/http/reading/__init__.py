"""`/api/events` and `/api/dead-letters`: stored events for people and their tools."""
