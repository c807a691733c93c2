"""Redis as every service asks it: scripts that go together, a bound on every wait, a breaker."""
