"""The direct listener: HTTP/1.1 on a uvloop transport, which costs an event no task and no future of its own."""
