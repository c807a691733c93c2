"""OpenAI's embeddings in the OpenAPI document: the answer, and examples of both bodies."""

from typing import Any

_TOKENS: dict[str, Any] = {"type": "integer", "minimum": 0}
EMBEDDINGS: dict[str, Any] = {
    "title": "EmbeddingsAnswer",
    "type": "object",
    "description": "OpenAI's answer, with `asahi` added.",
    "required": ["object", "data", "model", "usage", "asahi"],
    "properties": {
        "object": {"type": "string", "description": "Always `list`."},
        "data": {
            "type": "array",
            "description": "A vector for each input, in their order.",
            "items": {
                "type": "object",
                "required": ["object", "index", "embedding"],
                "properties": {
                    "object": {"type": "string", "description": "Always `embedding`."},
                    "index": {"type": "integer", "minimum": 0, "description": "Which input."},
                    "embedding": {
                        "anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}],
                        "description": "The vector: numbers, or base64 where `encoding_format` asked for it.",
                    },
                },
            },
        },
        "model": {"type": "string", "description": "The model that embedded them."},
        "usage": {
            "type": "object",
            "description": "Tokens as the provider counted them, of cached inputs those of their own call.",
            "properties": {
                "prompt_tokens": {**_TOKENS, "description": "Tokens of all inputs."},
                "total_tokens": {**_TOKENS, "description": "The same."},
            },
        },
        "asahi": {"$ref": "#/components/schemas/AsahiObject"},
    },
    "additionalProperties": True,
}
EMBEDDING_MODEL: dict[str, Any] = {
    "id": "text-embedding-3-small",
    "aliases": [],
    "vendor": "openai",
    "provider": "openai",
    "allowed": True,
    "dimensions": 1536,
    "least_dimensions": 1,
    "max_input_tokens": 8192,
    "input_per_million": 0.02,
    "health": "available",
}
EMBEDDINGS_EXAMPLES: dict[str, dict[str, Any]] = {
    "EmbeddingsBody": {
        "without any key": {"input": "How do I reset my password?"},
        "several, by a model that is named": {
            "model": "text-embedding-3-small",
            "input": ["How do I reset my password?", "Where is my invoice?"],
            "dimensions": 256,
            "encoding_format": "base64",
        },
    },
    "EmbeddingsAnswer": {
        "two inputs, one of which was embedded before": {
            "object": "list",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456, 0.0789]},
                {"object": "embedding", "index": 1, "embedding": [-0.0321, 0.0654, 0.0987]},
            ],
            "model": "text-embedding-3-small",
            "usage": {"prompt_tokens": 14, "total_tokens": 14},
            "asahi": {
                "request_id": "01a20da6-23de-7451-967a-afcb49443661",
                "model": "text-embedding-3-small",
                "provider": "openai",
                "cost_usd": 0.00000014,
                "cost_original_usd": 0.00000028,
                "savings_usd": 0.00000014,
                "cache_hit": False,
                "cache_tier": 0,
                "routing_mode": "explicit",
                "routing_reason": (
                    "The caller named text-embedding-3-small, which embeds one input; about $0.00000014 expected. "
                    "1 of 2 inputs were embedded before; from cache tier 1."
                ),
                "optimization_techniques": ["cache_tier_1"],
            },
        }
    },
}
