"""Clusters of real servers. Each node has its own address, and can be cut off from the network."""
