"""Examples of bodies and answers of signing up and of `/governance/*`, by struct and by name."""

from typing import Any

_REQUEST = "01a20da6-23de-7451-967a-afcb49443661"
_ACT = "act_3kQm0ZrT5yWcE8Vn"
_ORGANIZATION = "org_cS37viDHREqps9uU"
_KEY_ID, _NEXT_KEY_ID = "key_UK03IkOk", "key_b7Rq2LxA"
_KEY, _NEXT_KEY = "ask_UK03IkOk_…", "ask_b7Rq2LxA_…"
_API_KEY: dict[str, Any] = {
    "id": _KEY_ID,
    "name": "nightly build",
    "scopes": ["infer"],
    "organization_id": _ORGANIZATION,
    "user_id": None,
    "allowed_models": ["gpt-6-*"],
    "rate_limits": {"requests_per_minute": 60},
    "budgets": None,
    "created_at": "2026-11-24T12:58:41.545825Z",
    "expires_at": "2027-01-01T00:00:00Z",
    "revoked_at": None,
    "last_used_at": "2026-11-24T13:01:59.120442Z",
    "rotated_from": None,
    "rotated_to": None,
}
_ORGANIZATION_VIEW: dict[str, Any] = {
    "id": _ORGANIZATION,
    "name": "Acme",
    "user_id": "ada",
    "created_at": "2026-11-24T12:58:40.912377Z",
    "suspended_at": None,
    "deleted_at": None,
}
_INVITE: dict[str, Any] = {
    "id": "inv_9fXw4sQd",
    "note": "for Acme",
    "created_at": "2026-11-24T12:50:00.000000Z",
    "expires_at": "2026-12-01T12:50:00.000000Z",
    "used_at": None,
    "organization_id": None,
}
_BUDGET: dict[str, Any] = {
    "per": "organization",
    "window": "month",
    "limit_usd": 50.0,
    "action": "block",
    "alert_at": [0.5, 0.8, 1.0],
    "timezone": None,
}
_POLICY: dict[str, Any] = {
    "organization_id": _ORGANIZATION,
    "version": 3,
    "updated_at": "2026-11-24T13:05:12.008191Z",
    "updated_by": _KEY_ID,
    "allowed_models": ["gpt-6-*", "claude-*"],
    "allowed_providers": None,
    "baseline_model": "gpt-6.1-sol",
    "default_max_output_tokens": 4096,
    "timezone": "Europe/Paris",
    "quality": {"default_threshold": None, "floor": 3.0, "epsilon": 0.01, "confidence": 0.95},
    "cache": {
        "tiers": [1, 2, 3],
        "ttl_seconds": 86400,
        "false_hit_bound": 0.01,
        "share_between_users": "exact",
        "sampled_answers": "reuse",
    },
    "rate_limits": {"requests_per_minute": 600, "per_user": {"requests_per_minute": 60}},
    "retention": {"prompts_days": 0, "usage_days": 400, "responses_days": 30},
    "fail_open_without_billing": False,
    "strict_revocation": False,
    "budgets": [_BUDGET],
    "alerts": None,
    "learning": {
        "cascade": "hard_checks",
        "exploration": 0.0,
        "share_outcomes": False,
        "shadow_share": 0.0,
        "judge": "local",
        "monthly_limit_usd": 0,
    },
}
_AUDIT_ENTRY: dict[str, Any] = {
    "sequence": 7,
    "occurred_at": "2026-11-24T13:05:12.008191Z",
    "actor": _KEY_ID,
    "action": "policy.update",
    "target": _ORGANIZATION,
    "details": {"version": 3, "changes": {"timezone": "Europe/Paris"}},
    "outcome": "done",
    "address": "203.0.113.7",
    "request_id": _REQUEST,
    "hmac": "5d1c7a0e4b3f29688d5a1c70e9b4f2136c8a7d5e0f1b2c3d4e5f60718293a4b5",
}
_KEPT_AUDIT = {
    "store": "auth.audit",
    "reason": "The audit chain is append-only: it keeps who did what when, end users under pseudonyms.",
}
_KEPT_USAGE = {
    "store": "billing.usage",
    "reason": "Usage records, without prompts and answers, and without who asked.",
}
_RECEIPT: dict[str, Any] = {
    "act_id": _ACT,
    "organization_id": _ORGANIZATION,
    "user_id": None,
    "completed_at": "2026-11-24T13:10:00.412377Z",
    "erased": [
        {"store": "auth.keys", "erased": 2},
        {"store": "auth.policies", "erased": 3},
        {"store": "cache.answers", "erased": 118},
        {"store": "cache.replays", "erased": 4},
        {"store": "cache.responses", "erased": 31},
        {"store": "cache.evidence", "erased": 812},
        {"store": "router.outcomes", "erased": 64},
        {"store": "router.examples", "erased": 240},
    ],
    "kept": [_KEPT_AUDIT, _KEPT_USAGE],
}

GOVERNANCE_EXAMPLES: dict[str, dict[str, Any]] = {
    "SignupBody": {
        "a new organization": {"org_name": "Acme", "user_id": "ada", "email": "ada@example.com"},
        "by invite": {"org_name": "Acme", "user_id": "ada", "invite_code": "ask-the-operator"},
    },
    "SignupAnswer": {
        "its first key": {
            "org_id": _ORGANIZATION,
            "org_name": "Acme",
            "api_key": _KEY,
            "api_key_id": _KEY_ID,
            "scopes": ["all"],
        }
    },
    "ApiKeyBody": {
        "for a program": {
            "name": "nightly build",
            "scopes": ["infer"],
            "allowed_models": ["gpt-6-*"],
            "rate_limits": {"requests_per_minute": 60},
            "expires_at": "2027-01-01T00:00:00Z",
        },
        "for a dashboard": {"name": "dashboard", "scopes": ["analytics"]},
    },
    "ApiKeyView": {"a key": {**_API_KEY, "api_key": _KEY}},
    "ApiKeyList": {"one key": {"data": [_API_KEY], "next_cursor": None}},
    "RotationBody": {"an hour of overlap": {"overlap_seconds": 3600}, "at once": {"overlap_seconds": 0}},
    "RotatedKey": {
        "a key and the one before": {
            **_API_KEY,
            "id": _NEXT_KEY_ID,
            "api_key": _NEXT_KEY,
            "last_used_at": None,
            "rotated_from": _KEY_ID,
            "replaced": {**_API_KEY, "expires_at": "2026-11-24T14:12:00.120442Z", "rotated_to": _NEXT_KEY_ID},
        }
    },
    "OrganizationBody": {"a new organization": {"name": "Acme"}},
    "OrganizationView": {"an organization": _ORGANIZATION_VIEW},
    "OrganizationList": {"one organization": {"data": [_ORGANIZATION_VIEW], "next_cursor": None}},
    "InviteBody": {"for Acme": {"note": "for Acme", "expires_at": "2027-01-01T00:00:00Z"}, "seven days": {}},
    "InviteView": {"a new invite": {**_INVITE, "code": "…"}},
    "InviteList": {"one invite": {"data": [_INVITE], "next_cursor": None}},
    "PolicyBody": {
        "some models, some requests": {
            "allowed_models": ["gpt-6-*", "claude-*"],
            "rate_limits": {"requests_per_minute": 600, "per_user": {"requests_per_minute": 60}},
        },
        "only if nobody changed it": {"timezone": "Europe/Paris", "version": 2},
        "fifty dollars a month, five a day for each key": {
            "budgets": [
                {"per": "organization", "window": "month", "limit_usd": 50, "action": "block"},
                {"per": "key", "window": "day", "limit_usd": 5, "action": "alert"},
            ]
        },
        "a default again": {"baseline_model": None},
    },
    "PolicyView": {"a policy": _POLICY},
    "PolicyHistory": {"one version": {"data": [_POLICY], "next_cursor": None}},
    "UsageAnswer": {
        "this month": {
            "data": {
                "organization_id": _ORGANIZATION,
                "period": "month",
                "timezone": "UTC",
                "start": "2026-11-01T00:00:00Z",
                "end": "2026-11-24T13:02:04.383852Z",
                "requests": 2,
                "tokens_input": 21,
                "tokens_input_cached": 0,
                "tokens_output": 204,
                "cost": 0.001041,
                "savings": 0.001041,
                "budget_left": 49.998959,
                "budgets": [
                    {
                        **_BUDGET,
                        "api_key_id": None,
                        "subject": _ORGANIZATION,
                        "window_end": "2026-12-01T00:00:00Z",
                        "spent": 0.001041,
                        "reserved": 0.0,
                        "left": 49.998959,
                    }
                ],
            }
        }
    },
    "CacheInvalidationBody": {
        "one answer": {"request_id": _REQUEST},
        "old answers": {"older_than": "2026-11-24T12:00:00Z"},
        "everything": {},
    },
    "CacheInvalidationAnswer": {"one answer": {"organization_id": _ORGANIZATION, "dropped": 1}},
    "AuditList": {"one entry": {"data": [_AUDIT_ENTRY], "next_cursor": None}},
    "ComplianceAnswer": {
        "a report": {
            "data": {
                "organization_id": _ORGANIZATION,
                "generated_at": "2026-11-24T13:10:00.412377Z",
                "key_counts": {
                    "total": 1,
                    "active": 1,
                    "revoked": 0,
                    "expired": 0,
                    "active_without_expiry": 0,
                    "active_with_admin": 0,
                    "active_never_used": 0,
                },
                "api_keys": [_API_KEY],
                "policy": _POLICY,
                "retention": [
                    {"data": "usage records", "days": 400, "note": "policy: retention.usage_days"},
                ],
                "audit": {
                    "intact": True,
                    "entries": 7,
                    "checkpoints": 2,
                    "faults": [],
                    "last_checkpoint_sequence": 6,
                    "last_checkpoint_at": "2026-11-24T13:05:00.000000Z",
                },
            }
        }
    },
    "ErasureReceipt": {
        "of an organization": _RECEIPT,
        "of an end user": {
            **_RECEIPT,
            "user_id": "ada",
            "erased": [
                {"store": "auth.keys", "erased": 1},
                {"store": "auth.pseudonyms", "erased": 1},
                {"store": "cache.answers", "erased": 4},
            ],
        },
    },
}
