"""OpenAI's chat completions, as a provider speaks them."""
