"""Sockets and listeners of a worker, and their certificates."""
