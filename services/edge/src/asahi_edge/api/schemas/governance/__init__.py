"""Bodies of signing up and of `/governance/*`, a module per capability."""
