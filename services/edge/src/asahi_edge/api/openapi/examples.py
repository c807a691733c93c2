"""Examples of bodies and answers, by struct and by name; a test holds them against the schemas."""

from typing import Any

from asahi_edge.api.openapi.analytics_examples import ANALYTICS_EXAMPLES
from asahi_edge.api.openapi.anthropic_examples import ANTHROPIC_EXAMPLES
from asahi_edge.api.openapi.embeddings import EMBEDDING_MODEL, EMBEDDINGS_EXAMPLES
from asahi_edge.api.openapi.governance_examples import GOVERNANCE_EXAMPLES
from asahi_edge.api.openapi.reconciliation_examples import RECONCILIATION_EXAMPLES
from asahi_edge.api.openapi.responses_examples import RESPONSES_EXAMPLES

_REQUEST = "01a20da6-23de-7451-967a-afcb49443661"
_REASON = (
    "gpt-6.1-terra is the cheapest of 11 models as good as gpt-6.1-sol (to 1 %) for chat (4.93 of 5 expected, 4.88 "
    "needed), about $0.00126 against $0.00252 at gpt-6.1-sol."
)
_MISS: dict[str, Any] = {
    "request_id": _REQUEST,
    "response": "An async function gives way while it waits.",
    "finish_reason": "stop",
    "model_used": "gpt-6.1-terra",
    "provider": "openai",
    "tokens_input": 13,
    "tokens_output": 87,
    "tokens_input_cached": 0,
    "cost": 0.000448,
    "cost_overhead": 0,
    "cost_original": 0.000896,
    "cost_savings_percent": 50.0,
    "savings_breakdown": {"routing": 0.000448},
    "latency_ms": 2212.704,
    "overhead_ms": 3.349,
    "cache_hit": False,
    "cache_tier": 0,
    "routing_mode": "autopilot",
    "routing_reason": _REASON,
    "optimization_techniques": ["routing"],
    "attempts": [
        {"model": "gpt-6.1-terra", "provider": "openai", "outcome": "answered", "duration_ms": 2209.355},
    ],
}
_HIT: dict[str, Any] = {
    **_MISS,
    "request_id": "01a20da6-2b1c-7a02-8c11-5f0d3a6e9b47",
    "tokens_input": 0,
    "tokens_output": 0,
    "cost": 0,
    "cost_savings_percent": 100.0,
    "savings_breakdown": {"cache_tier_1": 0.000896},
    "latency_ms": 0.412,
    "overhead_ms": 0.412,
    "cache_hit": True,
    "cache_tier": 1,
    "routing_reason": "gpt-6.1-terra answered the same request 12 s ago; from cache tier 1.",
    "optimization_techniques": ["cache_tier_1"],
    "attempts": [],
}
_WORKFLOW: dict[str, Any] = {
    **_MISS,
    "request_id": "01a20da6-3c42-7d10-9b0e-6a5d2f1c8e03",
    "response": "Yes, if bread is wanted every morning.",
    "savings_breakdown": {"cache_tier_3": 0.000312, "routing": 0.000136},
    "routing_reason": (
        "2 steps: 1 from cache tier 3, 0 shared with requests under way, 1 answered by providers for $0.000448. "
        f"The answering step: {_REASON}"
    ),
    "optimization_techniques": ["cache_tier_3", "routing"],
    "steps": [
        {"id": "facts", "tier": 3, "coalesced": False, "cost": 0, "model": "gpt-6-luna", "finish_reason": "stop"},
        {
            "id": "answer",
            "tier": 0,
            "coalesced": False,
            "cost": 0.000448,
            "model": "gpt-6.1-terra",
            "finish_reason": "stop",
        },
    ],
}
_PERIOD: dict[str, Any] = {
    "period": "24h",
    "start": "2026-11-23T13:02:02.767085Z",
    "end": "2026-11-24T13:02:02.767085Z",
}
_MODEL: dict[str, Any] = {
    "id": "gpt-6.1-terra",
    "aliases": [],
    "vendor": "openai",
    "provider": "openai",
    "allowed": True,
    "context_window": 1050000,
    "max_output_tokens": 128000,
    "capabilities": ["tools", "images", "json_schema", "reasoning"],
    "prices": {"input_per_million": 1, "cached_input_per_million": 0.1, "output_per_million": 5},
    "quality_by_task": {"chat": 4.93, "code": 4.78, "math": 4.89},
    "quality_source": "whatmodel.sh composite 83.4 of 100, November 2026",
    "latency": {"first_token_ms": 1000.0, "output_tokens_per_second": 120.0},
    "health": "available",
}
_OPENAI_MODEL: dict[str, Any] = {"id": "gpt-6.1-terra", "object": "model", "created": 0, "owned_by": "openai"}
_ANTHROPIC_MODEL: dict[str, Any] = {
    "type": "model",
    "id": "claude-sonnet-5-5",
    "display_name": "claude-sonnet-5-5",
    "created_at": "1970-01-01T00:00:00Z",
}
_INFERENCE: dict[str, Any] = {
    "request_id": _REQUEST,
    "timestamp": "2026-11-24T13:02:01.983406Z",
    "model_used": "gpt-6.1-terra",
    "provider": "openai",
    "tokens_input": 13,
    "tokens_output": 87,
    "tokens_input_cached": 0,
    "cost": 0.000448,
    "cost_original": 0.000896,
    "savings": 0.000448,
    "cache_hit": False,
    "cache_tier": 0,
    "coalesced": False,
    "routing_reason": _REASON,
    "latency_ms": 2212.704,
    "status": "answered",
    "user_id": "ada",
    "task_id": None,
    "tags": {"team": "search"},
}
_HEALTHY: dict[str, Any] = {
    "status": "healthy",
    "version": "0.1.0",
    "uptime_seconds": 206.379,
    "components": {
        "edge": {"status": "healthy", "detail": "serves HTTP"},
        "auth": {"status": "healthy", "detail": "serves"},
        "router": {"status": "healthy", "detail": "serves"},
        "cache": {"status": "healthy", "detail": "serves"},
        "billing": {"status": "healthy", "detail": "serves"},
        "providers": {"status": "healthy", "detail": "anthropic, openai"},
    },
}

EXAMPLES: dict[str, dict[str, Any]] = {
    **ANTHROPIC_EXAMPLES,
    **GOVERNANCE_EXAMPLES,
    **ANALYTICS_EXAMPLES,
    **RECONCILIATION_EXAMPLES,
    "InferBody": {
        "Asahi chooses the model": {"prompt": "Explain async/await in Python.", "latency_budget_ms": 5000},
        "good and quick": {
            "prompt": "Translate to French: the sea is calm.",
            "routing_mode": "guided",
            "quality_preference": "high",
            "latency_preference": "fast",
        },
        "one named model": {
            "prompt": "Name three rivers.",
            "routing_mode": "explicit",
            "model_override": "gpt-6-luna",
            "max_tokens": 256,
        },
        "about a document": {"prompt": "Who signed it?", "document": "This agreement …", "document_id": "contract-7"},
        "a workflow": {
            "prompt": "Shall we sign?",
            "document": "This agreement …",
            "document_id": "contract-7",
            "steps": [
                {"id": "facts", "prompt": "List the facts of {{document}}", "type": "extract", "quality_threshold": 3},
                {"id": "answer", "prompt": "{{prompt}} Facts: {{facts}}", "depends_on": ["facts"]},
            ],
        },
        "streamed": {"prompt": "Tell a story.", "stream": True},
    },
    "InferAnswer": {"by a model": _MISS, "from the cache": _HIT, "by a workflow": _WORKFLOW},
    "QuoteAnswer": {
        "of a call": {
            "request_id": _REQUEST,
            "model": "gpt-6.1-terra",
            "provider": "openai",
            "routing_mode": "autopilot",
            "routing_reason": _REASON,
            "task_type": "chat",
            "baseline_model": "gpt-6.1-sol",
            "expected_cost": 0.00126,
            "max_cost": 0.64013,
            "cache": {
                "hit": False,
                "tier": 0,
                "explanation": (
                    "No answer to the same request is kept for this organization; a provider would be called."
                ),
            },
        },
        "of a workflow": {
            "request_id": _REQUEST,
            "model": "gpt-6.1-terra",
            "provider": "openai",
            "routing_mode": "autopilot",
            "routing_reason": (
                "2 steps: 1 would come from cache tier 3, 1 from providers for about $0.00126. "
                f"The answering step: {_REASON}"
            ),
            "task_type": "chat",
            "baseline_model": "gpt-6.1-sol",
            "expected_cost": 0.00126,
            "max_cost": 0.0821,
            "cache": {
                "hit": False,
                "tier": 0,
                "explanation": "The results of 1 of 2 steps are kept and would be used again.",
            },
            "steps": [
                {
                    "id": "facts",
                    "model": "gpt-6-luna",
                    "provider": "openai",
                    "routing_reason": _REASON,
                    "task_type": "summarize",
                    "expected_cost": 0,
                    "max_cost": 0.0412,
                    "estimated": False,
                    "cache": {
                        "hit": True,
                        "tier": 3,
                        "explanation": (
                            "An answer by gpt-6-luna to the same request is kept and would be given again."
                        ),
                    },
                },
                {
                    "id": "answer",
                    "model": "gpt-6.1-terra",
                    "provider": "openai",
                    "routing_reason": _REASON,
                    "task_type": "chat",
                    "expected_cost": 0.00126,
                    "max_cost": 0.0409,
                    "estimated": False,
                    "cache": {
                        "hit": False,
                        "tier": 0,
                        "explanation": (
                            "No answer to the same request is kept for this organization; a provider would be called."
                        ),
                    },
                },
            ],
        },
    },
    "ChatBody": {
        "Asahi chooses the model": {
            "model": "asahi",
            "messages": [{"role": "user", "content": "Explain async/await in Python."}],
        },
        "streamed, with usage": {
            "model": "asahi/high",
            "messages": [
                {"role": "system", "content": "Answer in one sentence."},
                {"role": "user", "content": "What is a coroutine?"},
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        "one named model": {
            "model": "gpt-6-luna",
            "messages": [{"role": "user", "content": "Name three rivers."}],
            "max_completion_tokens": 256,
        },
    },
    "ChatAnswer": {
        "an answer": {
            "id": "chatcmpl-01a20da624fe71c8952442a763a374d5",
            "object": "chat.completion",
            "created": 1795525321,
            "model": "gpt-6.1-terra",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "An async function gives way while it waits.",
                        "refusal": None,
                    },
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 13,
                "completion_tokens": 87,
                "total_tokens": 100,
                "prompt_tokens_details": {"cached_tokens": 0},
            },
            "asahi": {
                "request_id": "01a20da6-23de-7451-967a-afcb49443661",
                "model": "gpt-6.1-terra",
                "provider": "openai",
                "cost_usd": 0.000448,
                "cost_original_usd": 0.000896,
                "savings_usd": 0.000448,
                "cache_hit": False,
                "cache_tier": 0,
                "routing_mode": "autopilot",
                "routing_reason": "gpt-6.1-terra is the cheapest of 11 models as good as gpt-6.1-sol (to 1 %) for chat "
                "(4.93 of 5 expected, 4.88 needed), about $0.00126 against $0.00252 at gpt-6.1-sol.",
                "optimization_techniques": ["routing"],
            },
        }
    },
    **RESPONSES_EXAMPLES,
    **EMBEDDINGS_EXAMPLES,
    "FeedbackBody": {
        "a thumb": {"request_id": _REQUEST, "rating": "up"},
        "a score": {"request_id": _REQUEST, "score": 0.8, "comment": "Right, but long."},
        "a wrong cached answer": {"request_id": _REQUEST, "correct_cache_hit": False},
    },
    "FeedbackAnswer": {"kept": {"request_id": _REQUEST, "recorded": True}},
    "Catalog": {
        "one model of each kind": {
            "data": [_MODEL],
            "embedding_models": [EMBEDDING_MODEL],
            "baseline_model": "gpt-6.1-sol",
        }
    },
    "OpenAIModel": {"a model": _OPENAI_MODEL},
    "OpenAIModelList": {"one model": {"object": "list", "data": [_OPENAI_MODEL]}},
    "AnthropicModel": {"a model": _ANTHROPIC_MODEL},
    "AnthropicModelList": {
        "one model": {
            "data": [_ANTHROPIC_MODEL],
            "has_more": False,
            "first_id": "claude-sonnet-5-5",
            "last_id": "claude-sonnet-5-5",
        }
    },
    "CostSummaryAnswer": {
        "a day": {
            "data": {
                **_PERIOD,
                "total_cost": 0.000448,
                "cost_original": 0.001792,
                "cost_overhead": 0,
                "total_savings": 0.001344,
                "savings_percent": 75.0,
                "total_requests": 2,
                "cache_hits": 1,
                "cache_hit_rate": 0.5,
                "cache_cost_saved": 0.000896,
                "savings_by_technique": {"cache_tier_1": 0.000896, "routing": 0.000448},
                "price_unknown_calls": 0,
            }
        }
    },
    "InferenceList": {"one request": {"data": [_INFERENCE], "next_cursor": None}},
    "CachePerformanceAnswer": {
        "a day": {
            "data": {
                **_PERIOD,
                "requests": 2,
                "hits": 1,
                "misses": 1,
                "coalesced": 0,
                "hit_rate": 0.5,
                "saved": 0.000896,
                "tiers": [{"tier": 1, "hits": 1, "hit_rate": 0.5, "saved": 0.000896}],
                "tier2_error": 0.0,
                "tier2": {
                    "false_hit_bound": 0.01,
                    "error_low": 0.0,
                    "error_high": 0.0093,
                    "judge_misses": 0.1244,
                    "reported_wrong": 0,
                    "strata": [
                        {
                            "least_probability": 0.985,
                            "state": "proven",
                            "audits": 780,
                            "wrong": 0,
                            "error_low": 0.0,
                            "error_high": 0.0093,
                            "served": 1204,
                        }
                    ],
                },
            }
        }
    },
    "MetricsAnswer": {
        "figures": {
            "data": {
                "total_cost": 0.000448,
                "total_savings": 0.001344,
                "requests": 2,
                "cache_hit_rate": 0.5,
                "cache_size": 1,
                "cache_cost_saved": 0.000896,
                "tier1_hits": 1,
                "tier2_hits": 0,
                "tier3_hits": 0,
                "avg_latency_ms": 1106.558,
                "uptime_seconds": 206.379,
            }
        }
    },
    "HealthView": {
        "all well": _HEALTHY,
        "without the cache": {
            **_HEALTHY,
            "status": "degraded",
            "components": {
                **_HEALTHY["components"],
                "cache": {
                    "status": "degraded",
                    "detail": "does not answer: every request asks a provider, nothing is stored",
                },
            },
        },
    },
    "ProbeView": {"yes": {"status": "ok"}},
}
