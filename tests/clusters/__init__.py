"""Clusters of real servers, each node with an address of its own, that can be cut off."""
