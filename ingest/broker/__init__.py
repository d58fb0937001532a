"""Publishes events as messages: one small protocol, and an adapter for each broker."""
