"""Call Events Service: call events from HTTP to MySQL and RabbitMQ, nothing lost."""

from importlib.metadata import version

__version__ = version("call-events-ingest")
