"""The tools for people: each asks a running Asahi over HTTP and shows the answer."""
