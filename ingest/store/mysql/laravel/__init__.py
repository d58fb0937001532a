"""Moves a database over from the Laravel original, and back."""
