"""Fixtures that every test of the service may ask for."""

from services.auth.tests.databases import database, server

__all__ = ["database", "server"]
