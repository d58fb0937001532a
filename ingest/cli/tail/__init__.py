"""`ingest tail`: prints the messages of the embedded queue, of RabbitMQ's queue, or of a stream."""
