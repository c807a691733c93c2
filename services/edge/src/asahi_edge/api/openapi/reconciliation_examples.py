"""Examples of bodies and answers of reconciliation, prices and alerts, by struct and by name."""

from typing import Any

_IMPORT = "report_5d1c7a0e4b3f29688d5a1c70e9b4f213"
_RECONCILIATION: dict[str, Any] = {
    "first_day": "2026-11-24",
    "last_day": "2026-11-24",
    "capture_rate_percent": 100.0,
    "reported": 0.066,
    "ledger": 0.06,
    "difference": 0.006,
    "price_difference": 0.006,
    "missing_in_ledger": 0,
    "missing_in_report": 0,
    "rounding": 0,
    "lines": 2,
    "agreeing_lines": 1,
    "differing_lines": 1,
    "worst": [
        {
            "day": "2026-11-24",
            "provider": "openai",
            "model": "gpt-6-luna",
            "item": "output",
            "keys": ["proj_a"],
            "fault": "price",
            "reported": 0.036,
            "ledger": 0.03,
            "difference": 0.006,
            "reported_tokens": 50000,
            "ledger_tokens": 50000,
            "calls": 412,
        }
    ],
    "orphans": 0,
    "orphans_cost": 0,
    "orphan_calls": [],
    "price_unknown_calls": 0,
    "reports": [
        {"import_id": _IMPORT, "format": "openai", "imported_at": "2026-11-25T06:00:01.204117Z", "days": 1},
    ],
}
RECONCILIATION_EXAMPLES: dict[str, dict[str, Any]] = {
    "CostReport": {
        "OpenAI's costs": {
            "data": [
                {
                    "start_time": 1795478400,
                    "end_time": 1795564800,
                    "results": [
                        {
                            "amount": {"value": 0.03, "currency": "usd"},
                            "line_item": "gpt-6-luna, input",
                            "project_id": "proj_a",
                            "quantity": 30000,
                        },
                    ],
                }
            ]
        },
        "Anthropic's cost report": {
            "data": [
                {
                    "starting_at": "2026-11-24T00:00:00Z",
                    "ending_at": "2026-11-25T00:00:00Z",
                    "results": [
                        {
                            "amount": "123.78912",
                            "currency": "USD",
                            "workspace_id": "wrkspc_a",
                            "model": "claude-haiku-5-5",
                            "cost_type": "tokens",
                            "token_type": "output_tokens",
                        }
                    ],
                }
            ]
        },
    },
    "PricesBody": {
        "a discount in November": {
            "prices": [{"models": "gpt-6*", "factor": 0.85, "since": "2026-11-01", "until": "2026-12-01"}]
        },
        "a model of one's own": {"prices": [{"models": "llama-*", "rates": {"input": 0.1, "output": 0.2}}]},
    },
    "PricesAnswer": {
        "a discount in November": {
            "data": {
                "organization_id": "org_cS37viDHREqps9uU",
                "version": 1,
                "updated_at": "2026-11-24T13:05:12.008191Z",
                "updated_by": "key_UK03IkOk",
                "prices": [
                    {
                        "models": "gpt-6*",
                        "rates": None,
                        "factor": 0.85,
                        "since": "2026-11-01",
                        "until": "2026-12-01",
                        "service_tier": None,
                    }
                ],
            }
        }
    },
    "RepricingBody": {
        "what would be booked": {
            "organization_id": "org_cS37viDHREqps9uU",
            "start": "2026-11-01T00:00:00Z",
            "end": "2026-11-24T00:00:00Z",
            "models": "gpt-6*",
            "dry_run": True,
        }
    },
    "RepricingAnswer": {
        "counter-entries": {
            "data": {
                "organization_id": "org_cS37viDHREqps9uU",
                "repricing_id": "reprice:01a20da6-23de-7451-967a-afcb49443661",
                "dry_run": False,
                "calls": 1204,
                "changed_calls": 1204,
                "difference": -1.806,
                "price_unknown_calls": 0,
                "price_version": "genai-prices 0.2.3 + prices 2",
            }
        }
    },
    "AlertsAnswer": {
        "half of a month's budget": {
            "data": {
                "organization_id": "org_cS37viDHREqps9uU",
                "signing_secret": "whsec_…",
                "alerts": [
                    {
                        "id": "alert_8d1f5c0e7a2b4c6d9e0f1a2b3c4d5e6f_500000",
                        "state": "delivered",
                        "attempts": 1,
                        "error": None,
                        "raised_at": "2026-11-24T13:05:12.008191Z",
                        "body": {"type": "budget.threshold", "threshold": 0.5, "spent_usd": "25.01"},
                    }
                ],
            }
        }
    },
    "ReconciliationAnswer": {"a day at another price": {"data": _RECONCILIATION}},
    "ImportAnswer": {
        "a day at another price": {
            "data": {
                "import_id": _IMPORT,
                "organization_id": "org_cS37viDHREqps9uU",
                "known": False,
                "format": "openai",
                "rows": 2,
                "first_day": "2026-11-24",
                "last_day": "2026-11-24",
                "reconciliation": _RECONCILIATION,
            }
        }
    },
}
