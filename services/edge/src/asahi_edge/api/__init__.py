"""The edge's HTTP: routes and schemas. Translates into the domain and back."""
