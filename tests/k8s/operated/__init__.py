"""The pages of docs/operations followed with the real helm and kubectl, against an API server of this folder's own."""
