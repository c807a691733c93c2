"""The OpenAPI document: routes from FastAPI, schemas from the structs that validate and answer, and examples."""
