"""The `asahi` command: laptop mode and the tools for people."""
