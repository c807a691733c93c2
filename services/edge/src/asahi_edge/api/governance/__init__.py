"""`/signup` and `/governance/*`, a module per capability."""
