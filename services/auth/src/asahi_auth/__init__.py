"""Organisations, users, keys, scopes, policies and the audit chain."""
