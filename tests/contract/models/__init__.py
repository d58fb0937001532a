"""The simulation's models and the real servers get the same random operations, and must answer alike."""
