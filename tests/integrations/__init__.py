"""The pages of docs/integrations, run as they stand, with clients of pinned versions in environments of their own."""
