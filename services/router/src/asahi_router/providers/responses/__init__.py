"""OpenAI's responses as a form of questions and answers; every provider is asked through the intermediate form."""
