"""Models of a database and a broker behind the service's two ports, for many schedules a second."""
