"""Drivers behind the domain's interfaces."""
