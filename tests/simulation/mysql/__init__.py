"""A model of a MySQL or MariaDB server, behind the interface of a connection of asyncmy."""
