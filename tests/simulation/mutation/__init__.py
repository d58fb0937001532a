"""Defects that are put into the service on purpose: the simulation must find each."""
