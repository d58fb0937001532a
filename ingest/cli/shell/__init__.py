"""How commands talk to their user: output, errors, parameters, and the servers that a command uses."""
