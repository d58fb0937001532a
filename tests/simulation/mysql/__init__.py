"""A model of a MySQL or MariaDB server, behind the interface of a connection of asyncmy.

The service's own statements run on tables in memory, with READ COMMITTED. `mariadb` chooses the flavour. The flavours
read other version comments, and name the key in error 1062 in their own way. They refuse JSON with 4025 or 3140, above
31 or 100 levels. Their tables of information_schema differ.

These parts of the servers are missing:
- gap locks, and other isolation levels
- locks of secondary indexes, and of deleted rows that are not purged yet
- plans that read and lock a whole small table
- collations that are not binary
- MySQL's binary JSON, which does not keep the bytes of a text
"""
