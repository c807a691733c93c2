"""How the verifier's coefficients are made: pairs generated from templates, and a fit. Nothing here is shipped."""
