"""Where events become durable: one small protocol, an adapter a database."""
