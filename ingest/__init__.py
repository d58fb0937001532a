"""Call Events Service: call events from HTTP to MySQL and RabbitMQ, nothing lost."""

__version__ = "0.1.0"
"""The distribution's, too."""
