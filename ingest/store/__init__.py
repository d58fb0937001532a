"""Makes events durable: one protocol (`base`), and an adapter for each database."""
