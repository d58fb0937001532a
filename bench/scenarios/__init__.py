"""Locust scenarios, one in each file: loads as telephony servers make them, each with its own budgets."""
