"""A provider that speaks OpenAI's and Anthropic's wire protocols on loopback."""
