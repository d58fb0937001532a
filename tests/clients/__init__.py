"""Real calls through Kamailio 6.1 and Asterisk 22 of Debian's unstable suite."""
