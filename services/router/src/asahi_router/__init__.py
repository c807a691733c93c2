"""Which model answers, and the calls to its provider."""
