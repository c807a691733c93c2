"""HTTP: the two providers' protocols, and the control paths."""
