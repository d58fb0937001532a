"""The machines of the simulated world: event loop, processes, operating system and disks."""
