"""Hostile input: bodies, messages, connections that mean no good, against a running installation."""
