"""Reads the metric files that are sound, and makes one exposition a second for all workers."""
