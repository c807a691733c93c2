"""Anthropic's messages, as a provider speaks them."""
