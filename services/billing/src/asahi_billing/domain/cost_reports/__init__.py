"""Providers' own cost reports: what their files look like, read piece by piece into charges by day, model and key."""
