"""The storage of a server: tables, their rows, locks and definitions."""
