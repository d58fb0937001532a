"""The language: the subset of SQL that the service uses, from bytes to functions of a row."""
