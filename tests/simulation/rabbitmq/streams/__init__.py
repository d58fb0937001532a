"""Streams, at the wire of RabbitMQ's stream protocol."""
