"""Answers that need not be bought twice, and the requests under way."""
