"""Judges the router's guard on measured outcomes: `python -m asahi_router.evaluate --memory DIR --queries DIR`."""
