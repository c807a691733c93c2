"""Examples of what `/analytics/*` answers, by struct and by name."""

from typing import Any

_PERIOD: dict[str, Any] = {
    "period": "24h",
    "start": "2026-11-23T13:02:02.767085Z",
    "end": "2026-11-24T13:02:02.767085Z",
}
_FIGURES: dict[str, Any] = {
    "cost": 0.000448,
    "cost_original": 0.001792,
    "savings": 0.001344,
    "requests": 2,
    "cache_hits": 1,
    "cache_hit_rate": 0.5,
    "calls": 1,
    "errors": 0,
    "price_unknown_calls": 0,
    "tokens_input": 13,
    "tokens_input_cached": 0,
    "tokens_output": 87,
    "avg_latency_ms": 1106.558,
}
_LATENCIES = {"requests": 2, "p50": 1106.558, "p75": 2212.704, "p90": 2212.704, "p95": 2212.704, "p99": 2212.704}
ANALYTICS_EXAMPLES: dict[str, dict[str, Any]] = {
    "BreakdownAnswer": {
        "by model": {
            "data": {
                **_PERIOD,
                "group_by": "model",
                "groups": [{**_FIGURES, "value": "gpt-6.1-terra"}],
                "rest": None,
                "rest_groups": 0,
                "total": _FIGURES,
            }
        }
    },
    "TrendsAnswer": {
        "two hours": {
            "data": {
                "period": "custom",
                "start": "2026-11-24T11:00:00Z",
                "end": "2026-11-24T13:00:00Z",
                "metric": "cost",
                "interval": "hour",
                "points": [
                    {"start": "2026-11-24T11:00:00Z", "value": 0},
                    {"start": "2026-11-24T12:00:00Z", "value": 0.000448},
                ],
            }
        }
    },
    "LatencyAnswer": {
        "a day": {
            "data": {
                "period": "24h",
                "start": "2026-11-23T13:00:00Z",
                "end": "2026-11-24T14:00:00Z",
                "overall": _LATENCIES,
                "groups": [{**_LATENCIES, "model": "gpt-6.1-terra", "cache_tier": 0}],
            }
        }
    },
    "ForecastAnswer": {
        "a day": {
            "data": {
                "spend": {
                    "start": "2026-11-24T13:02:02.767085Z",
                    "end": "2026-11-25T13:02:02.767085Z",
                    "expected": 41.207,
                    "low": 36.5,
                    "high": 45.914,
                },
                "days": [
                    {
                        "start": "2026-11-24T13:02:02.767085Z",
                        "end": "2026-11-25T00:00:00Z",
                        "expected": 21.1,
                        "low": 18.948,
                        "high": 23.252,
                    },
                    {
                        "start": "2026-11-25T00:00:00Z",
                        "end": "2026-11-25T13:02:02.767085Z",
                        "expected": 20.107,
                        "low": 17.551,
                        "high": 22.663,
                    },
                ],
                "budgets": [
                    {
                        "window": "month",
                        "limit": 1000,
                        "spent": 980.5,
                        "window_end": "2026-12-01T00:00:00Z",
                        "runs_out_at": "2026-11-25T00:10:12Z",
                    }
                ],
                "history_hours": 1344,
                "model": "The share of each hour of the week, times a smoothed level of the days.",
            }
        }
    },
    "AnomaliesAnswer": {
        "an expensive morning": {
            "data": {
                **_PERIOD,
                "anomalies": [
                    {
                        "metric": "cost",
                        "since": "2026-11-24T08:00:00Z",
                        "until": "2026-11-24T11:00:00Z",
                        "expected": 5.4,
                        "seen": 61.25,
                        "deviations": 34.2,
                    }
                ],
                "enough_history": True,
            }
        }
    },
    "RecommendationsAnswer": {
        "the cache is off": {
            "data": {
                **_PERIOD,
                "recommendations": [
                    {
                        "kind": "enable_cache",
                        "title": "Let the exact cache (tier 1) answer repeated requests.",
                        "saving": 12.4,
                        "evidence": "1200 requests cost 40 $, none could be answered by tier 1. In the 90 days before, "
                        "31.0% of 90400 requests were answered by tier 1; the saving is that share of the cost.",
                        "policy": {"cache": {"tiers": [1]}},
                    }
                ],
                "routing": {
                    "state": "measured",
                    "says": "31.2 % of the cost of gpt-6.1-sol saved and 0.40 % of its quality lost (95 %: -0.30 to "
                    "1.10), by 5210 judged answers.",
                    "baseline_model": "gpt-6.1-sol",
                    "epsilon": 0.01,
                    "decisions": 5210,
                    "explored": 5210,
                    "controls": [
                        {
                            "policy": "router",
                            "model": None,
                            "state": "measured",
                            "saved": 0.312,
                            "lost": {"point": 0.004, "low": -0.003, "high": 0.011},
                            "overlap": 1.0,
                            "effective_answers": 3120.5,
                        }
                    ],
                },
            }
        }
    },
    "UsageRowView": {
        "a call": {
            "request_id": "01a20da6-23de-7451-967a-afcb49443661",
            "attempt": 1,
            "timestamp": "2026-11-24T13:02:01.983406Z",
            "api_key_id": "key_4mQ2",
            "user_id": "ada",
            "task_id": None,
            "task_type": "chat",
            "tags": {"team": "search"},
            "model": "gpt-6.1-terra",
            "provider": "openai",
            "tokens_input": 13,
            "tokens_input_cached": 0,
            "tokens_output": 87,
            "cost": 0.000448,
            "cost_overhead": 0,
            "cost_original": 0.000896,
            "cache_tier": 0,
            "coalesced": False,
            "answered": True,
            "orphan": False,
            "usage_source": "provider",
            "price_version": "genai-prices 0.2.3",
            "latency_ms": 2212.704,
            "overhead_ms": 3.349,
            "error_code": None,
        }
    },
}
