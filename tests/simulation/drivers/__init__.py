"""The models of MySQL and RabbitMQ as the servers of a world: the service's own statements and frames reach them."""
