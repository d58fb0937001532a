"""What a server keeps: tables, their rows, locks and definitions."""
