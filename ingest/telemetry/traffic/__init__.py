"""Counts what callers send: events by type and by client form, and the durations of calls."""
