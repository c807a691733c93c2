"""What a policy may say, and what it means with every default filled in.

No policy can lock everybody out: that is what suspending an organisation is for. So a list of allowed models or
providers is not empty, a pattern of models is one that an id can match, a provider is an id, and limits are at least 1.

A policy is kept as the settings that were made, in the HTTP contract's JSON; what is absent is the default. Changes are
merge patches (RFC 7396): null restores a default, lists are replaced as a whole.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from asahi.type.v1.policy_pb2 import (
    AlertPolicy,
    CachePolicy,
    CacheSharing,
    Cascade,
    LearningPolicy,
    Policy,
    QualityPolicy,
    RateLimits,
    RetentionPolicy,
    SampledAnswers,
)
from asahi_auth.domain.budgets import budgets_of, check_budgets, check_dollars
from asahi_core.errors import InvalidRequest, NotImplementedYet
from asahi_core.money import nanos_from_dollars

Settings = Mapping[str, Any]
_Check = Callable[[str, Any], None]
_MOST_PATTERNS = 100
_LONGEST_TEXT = 200
_LONGEST_URL = 2000
_PATTERN = re.compile(r"(?:[^\s\[\]]|\[!?[^\s\[\]]+\])+")
_PROVIDER = re.compile(r"[0-9A-Za-z._-]+", re.ASCII)
_MOST_A_MINUTE = 1_000_000_000_000
_MOST_DAYS = 36_500

DEFAULTS: Settings = {
    "default_max_output_tokens": 4096,
    "timezone": "UTC",
    "quality": {"default_threshold": None, "floor": 3.0, "epsilon": 0.01, "confidence": 0.95},
    "cache": {
        "tiers": [1, 2, 3],
        "ttl_seconds": 86_400,
        "false_hit_bound": 0.01,
        "share_between_users": "exact",
        "sampled_answers": "reuse",
    },
    "learning": {
        "exploration": 0,
        "shadow_share": 0,
        "judge": "local",
        "monthly_limit_usd": 0,
        "cascade": "hard_checks",
        "share_outcomes": False,
    },
    "retention": {"prompts_days": 0, "usage_days": 400, "responses_days": 30},
    "alerts": {"webhook_url": None},
    "fail_open_without_billing": False,
    "strict_revocation": False,
}
"""Settings that hold where none is made; those that are not here restrict nothing then."""


def changed(settings: Settings, changes: Settings) -> dict[str, Any]:
    """The settings after a merge patch.

    Raises:
        InvalidRequest: a field or a value is not acceptable; the message says which, and what is.
        NotImplementedYet: nothing honours the field yet.
    """
    _check_object(_FIELDS, "", _whole(changes))
    return _merged(settings, _whole(changes))


def effective(settings: Settings) -> Policy:
    """The policy with every default filled in."""
    quality, cache = _section(settings, "quality"), _section(settings, "cache")
    learning, retention = _section(settings, "learning"), _section(settings, "retention")
    policy = Policy(
        allowed_models=settings.get("allowed_models", []),
        allowed_providers=settings.get("allowed_providers", []),
        baseline_model=settings.get("baseline_model", ""),
        default_max_output_tokens=_value(settings, "default_max_output_tokens"),
        timezone=_value(settings, "timezone"),
        quality=QualityPolicy(
            default_threshold=quality["default_threshold"],
            floor=quality["floor"],
            epsilon=quality["epsilon"],
            confidence=quality["confidence"],
        ),
        cache=CachePolicy(
            tiers=cache["tiers"],
            ttl_seconds=cache["ttl_seconds"],
            false_hit_bound=cache["false_hit_bound"],
            share_between_users=CacheSharing.Value(f"CACHE_SHARING_{cache['share_between_users'].upper()}"),
            sampled_answers=SampledAnswers.Value(f"SAMPLED_ANSWERS_{cache['sampled_answers'].upper()}"),
        ),
        budgets=budgets_of(settings.get("budgets", ())),
        alerts=AlertPolicy(webhook_url=_section(settings, "alerts")["webhook_url"] or ""),
        learning=LearningPolicy(
            exploration=learning["exploration"],
            shadow_share=learning["shadow_share"],
            judge=learning["judge"],
            monthly_limit_nanos=nanos_from_dollars(Decimal(str(learning["monthly_limit_usd"]))),
            cascade=Cascade.Value(f"CASCADE_{learning['cascade'].upper()}"),
            share_outcomes=learning["share_outcomes"],
        ),
        retention=RetentionPolicy(**retention),
        fail_open_without_billing=_value(settings, "fail_open_without_billing"),
        strict_revocation=_value(settings, "strict_revocation"),
    )
    limits = rate_limits(settings.get("rate_limits", {}))
    if limits is not None:
        policy.rate_limits.CopyFrom(limits)
    return policy


def rate_limits(settings: Settings) -> RateLimits | None:
    """Limits as the HTTP contract writes them; None: there are none."""
    own = {name: settings[name] for name in _MINUTE if settings.get(name) is not None}
    per_user = rate_limits(settings["per_user"]) if settings.get("per_user") else None
    return RateLimits(**own, per_user=per_user) if own or per_user is not None else None


def _merged(settings: Settings, changes: Settings) -> dict[str, Any]:
    merged = dict(settings)
    for name, value in changes.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            merged[name] = _merged(merged.get(name, {}), value)
            if not merged[name]:
                del merged[name]
        else:
            merged[name] = value
    return merged


def _whole(value: Any) -> Any:
    """Numbers as people wrote them: a Struct makes floats of all."""
    if isinstance(value, Mapping):
        return {name: _whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _section(settings: Settings, name: str) -> dict[str, Any]:
    return {**DEFAULTS[name], **settings.get(name, {})}


def _value(settings: Settings, name: str) -> Any:
    return settings.get(name, DEFAULTS[name])


def _refuse(path: str, value: Any, accepted: str) -> InvalidRequest:
    return InvalidRequest(f"{path}: {str(value)[:80]!r} is not {accepted}.", param=path)


def _check_object(fields: Mapping[str, _Check], path: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise _refuse(path, value, "an object")
    for name, one in value.items():
        place = f"{path}.{name}" if path else name
        if name not in fields:
            close = get_close_matches(name, fields, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(fields)}."
            raise InvalidRequest(f"{place}: a policy has no such field; {hint}", param=place)
        if one is not None:
            fields[name](place, one)


def _check_whole(low: int, high: int, path: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _refuse(path, value, f"a whole number from {low} to {high}")


def _check_number(low: float, high: float, path: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _refuse(path, value, f"a number from {low:g} to {high:g}")


def _check_choice(choices: tuple[str, ...], path: str, value: Any) -> None:
    if value not in choices:
        raise _refuse(path, value, f"one of {', '.join(choices)}")


def _check_switch(path: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise _refuse(path, value, "true or false")


def _check_text(path: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_TEXT or not value.isprintable():
        raise _refuse(path, value, f"a text of 1 to {_LONGEST_TEXT} printable characters")


def _check_pattern(path: str, value: Any) -> None:
    _check_text(path, value)
    if _PATTERN.fullmatch(value) is None:
        raise _refuse(path, value, "a pattern of model ids: no spaces; `*`, `?` and closed `[…]` stand for characters")


def _check_provider(path: str, value: Any) -> None:
    _check_text(path, value)
    if _PROVIDER.fullmatch(value) is None:
        raise _refuse(path, value, "the id of a provider: letters, digits, `.`, `_` and `-`; patterns are not taken")


def _check_webhook(path: str, value: Any) -> None:
    """What alerts are really posted to is checked when they are: names may lead elsewhere by then."""
    accepted = "an https address of at most 2000 plain characters, without a user (http where the operator lists it)"
    if not isinstance(value, str) or len(value) > _LONGEST_URL or not value.isascii() or not value.isprintable():
        raise _refuse(path, value, accepted)
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise _refuse(path, value, accepted) from error
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None or " " in value:
        raise _refuse(path, value, accepted)


def _check_each(check: _Check, path: str, value: Any) -> None:
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST_PATTERNS:
        accepted = (
            f"a list of 1 to {_MOST_PATTERNS} texts (null: no restriction; an empty list would lock everybody out)"
        )
        raise _refuse(path, value, accepted)
    for index, one in enumerate(value):
        check(f"{path}[{index}]", one)


def _check_tiers(path: str, value: Any) -> None:
    if not isinstance(value, list) or len(set(map(str, value))) != len(value):
        raise _refuse(path, value, "a list of tiers, each once: 1, 2, 3")
    for index, one in enumerate(value):
        _check_whole(1, 3, f"{path}[{index}]", one)


def check_timezone(path: str, value: Any) -> None:
    """Raises InvalidRequest where `value` is no IANA time zone."""
    if not isinstance(value, str) or value not in available_timezones():
        close = get_close_matches(str(value)[:100], available_timezones(), n=1)
        raise _refuse(path, value, "an IANA time zone" + (f"; did you mean {close[0]}?" if close else ""))


def _check_cascade(path: str, value: Any) -> None:
    _check_choice(("off", "hard_checks", "calibrated"), path, value)
    if value == "calibrated":
        raise NotImplementedYet(
            f"'{path}': 'calibrated' is not served by this version; take 'hard_checks' or 'off'.", param=path
        )


def _later(path: str, value: Any) -> None:
    """Refuses what nothing honours yet, unless it only says what holds anyway."""
    default: Any = DEFAULTS
    for name in path.split("."):
        default = default.get(name, []) if isinstance(default, Mapping) else []
    if value != default or isinstance(value, bool) is not isinstance(default, bool):
        raise NotImplementedYet(f"'{path}' is not served by this version; leave it out.", param=path)


_MINUTE = ("requests_per_minute", "tokens_per_minute")
_A_MINUTE: dict[str, _Check] = dict.fromkeys(_MINUTE, partial(_check_whole, 1, _MOST_A_MINUTE))
LIMIT_FIELDS: Mapping[str, _Check] = {**_A_MINUTE, "per_user": partial(_check_object, _A_MINUTE)}
_FIELDS: Mapping[str, _Check] = {
    "allowed_models": partial(_check_each, _check_pattern),
    "allowed_providers": partial(_check_each, _check_provider),
    "baseline_model": _check_text,
    "default_max_output_tokens": partial(_check_whole, 1, 10_000_000),
    "timezone": check_timezone,
    "quality": partial(
        _check_object,
        {
            "default_threshold": partial(_check_number, 0, 5),
            "floor": partial(_check_number, 0, 5),
            "epsilon": partial(_check_number, 0, 1),
            "confidence": _later,
        },
    ),
    "cache": partial(
        _check_object,
        {
            "tiers": _check_tiers,
            "ttl_seconds": partial(_check_whole, 1, 366 * 86_400),
            "false_hit_bound": partial(_check_number, 0.0001, 0.5),
            "share_between_users": partial(_check_choice, ("exact", "all", "none")),
            "sampled_answers": partial(_check_choice, ("reuse", "never")),
        },
    ),
    "rate_limits": partial(_check_object, LIMIT_FIELDS),
    "budgets": partial(check_budgets, check_timezone=check_timezone),
    "alerts": partial(_check_object, {"webhook_url": _check_webhook}),
    "learning": partial(
        _check_object,
        {
            "exploration": partial(_check_number, 0, 1),
            "shadow_share": partial(_check_number, 0, 1),
            "judge": _check_text,
            "monthly_limit_usd": partial(check_dollars, least_nanos=0),
            "cascade": _check_cascade,
            "share_outcomes": _check_switch,
        },
    ),
    "retention": partial(
        _check_object,
        {
            "prompts_days": partial(_check_whole, 0, _MOST_DAYS),
            "usage_days": partial(_check_whole, 7, 3660),
            "responses_days": partial(_check_whole, 0, _MOST_DAYS),
        },
    ),
    "fail_open_without_billing": _check_switch,
    "strict_revocation": _check_switch,
}
