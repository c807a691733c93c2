"""What becomes of every field of a question that is answered by a provider of another protocol, as data.

The readers of questions (`providers/`) go by it for what they leave out, routing for what keeps a question with its own
protocol; what it does not list is refused. The page docs/translation.md is made from it.
"""
