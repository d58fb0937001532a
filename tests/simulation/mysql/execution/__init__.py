"""Executes statements on tables."""
