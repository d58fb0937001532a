"""Where events become messages: one small protocol, an adapter a broker."""
