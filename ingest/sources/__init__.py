"""Telephony servers and services as they post, unmodified: each has a module, and a page in docs/clients."""
