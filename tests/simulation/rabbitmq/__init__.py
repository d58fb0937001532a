"""A model of RabbitMQ, at the wire: the service's own drivers talk to it over a network in memory."""
