"""The steps of the hot path, each beside a reference workload of the same process."""
