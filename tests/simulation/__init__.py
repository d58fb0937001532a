"""A deterministic simulation of workers: the real code on a simulated clock, disk, database and broker."""
