"""The bodies of the HTTP contract, by subject: what is validated, answered and documented, each declared once."""
