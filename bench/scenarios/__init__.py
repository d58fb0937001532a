"""Locust scenarios, one a file: each is a load as telephony servers make it, with budgets of its own."""
