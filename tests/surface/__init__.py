"""The HTTP surface: errors, bad input, documents of itself, health."""
