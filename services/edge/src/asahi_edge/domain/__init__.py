"""The rules of the edge: what happens to a request, in which order, and what it is told in the end."""
