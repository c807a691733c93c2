"""Measures the transports between the services and towards a provider (see README.md)."""
