"""Measures what requests cost, in CPU time of every process and in latency, on real installations."""
