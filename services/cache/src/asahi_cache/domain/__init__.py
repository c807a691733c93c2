"""The rules: plain Python that knows no driver and no transport."""
