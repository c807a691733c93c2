"""The official SDKs as judges: what their users see of Asahi is what they see of the provider itself."""
