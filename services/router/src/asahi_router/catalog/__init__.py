"""The models that Asahi knows, as reviewed data, and who serves which of them here."""
