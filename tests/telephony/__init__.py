"""Calls through telephony servers with the configurations of docs/clients, and what must be left of them."""
