"""Transport out: what billing sends to others."""
