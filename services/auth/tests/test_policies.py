"""Policies: what they may say, who may change them, and that of changes to one version one wins."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from asahi.auth.v1 import auth_pb2 as pb
from asahi_auth.domain.acting import no_organization
from asahi_auth.domain.organizations import ActingKey, ActingOperator, Organization
from asahi_auth.domain.policies import Policies
from asahi_auth.domain.policy import DEFAULTS, changed, effective
from asahi_auth.stores.opening import open_store
from asahi_core.clock import ManualClock
from asahi_core.errors import InvalidApiKey, InvalidRequest, NotImplementedYet, OrganizationMismatch, VersionConflict
from services.auth.tests.running import OPERATOR, acting, running

OPERATES = ActingOperator()


@pytest.fixture
async def policies(tmp_path: Path, database: str) -> AsyncIterator[Policies]:
    """Policies of an installation with the organisation `org_a`."""
    clock = ManualClock()
    with closing(open_store(tmp_path, database)) as store:
        organization = Organization("org_a", "A", "ada", "", clock.now())
        await store.change(lambda transaction: transaction.add_organization(organization))
        yield Policies(store, clock, lambda: None)


async def test_a_policy_that_was_never_changed_is_the_default(policies: Policies) -> None:
    policy = await policies.get("org_a")
    assert (policy.settings, policy.version, policy.updated_at, policy.updated_by) == ({}, 0, None, "")


async def test_a_change_keeps_the_rest_and_null_restores_the_default(policies: Policies) -> None:
    first = {"quality": {"floor": 2.5, "epsilon": 0.1}, "timezone": "Europe/Berlin", "allowed_models": ["gpt-*"]}
    await policies.update(OPERATES, "org_a", first, None)
    second = {"quality": {"floor": None}, "allowed_models": None, "rate_limits": {"requests_per_minute": 600}}
    policy = await policies.update(OPERATES, "org_a", second, 1)
    assert policy.settings == {
        "quality": {"epsilon": 0.1},
        "timezone": "Europe/Berlin",
        "rate_limits": {"requests_per_minute": 600},
    }
    assert (policy.version, policy.updated_by) == (2, "operator")
    whole = effective(policy.settings)
    assert (whole.quality.floor, whole.quality.epsilon, whole.timezone) == (3.0, 0.1, "Europe/Berlin")
    assert whole.rate_limits.requests_per_minute == 600
    assert list(whole.allowed_models) == []


async def test_a_change_that_changes_nothing_makes_no_version(policies: Policies) -> None:
    for _ in range(2):
        policy = await policies.update(OPERATES, "org_a", {"strict_revocation": True}, None)
    assert policy.version == 1


async def test_a_change_to_an_older_version_is_refused_and_changes_nothing(policies: Policies) -> None:
    await policies.update(OPERATES, "org_a", {"strict_revocation": True}, 0)
    with pytest.raises(VersionConflict, match="at version 1, not 0"):
        await policies.update(OPERATES, "org_a", {"strict_revocation": False}, 0)
    assert (await policies.get("org_a")).settings == {"strict_revocation": True}


async def test_of_concurrent_changes_to_one_version_one_wins_and_the_history_is_complete(policies: Policies) -> None:
    async def change(number: int) -> int:
        """Tries until it wins; how often that took."""
        for attempt in range(1, 1_000):
            version = (await policies.get("org_a")).version
            try:
                await policies.update(OPERATES, "org_a", {"cache": {"ttl_seconds": number}}, version)
            except VersionConflict:
                continue
            return attempt
        raise AssertionError("it never won")

    await asyncio.gather(*(change(number) for number in range(1, 26)))
    history, more = await policies.history("org_a", 1000, "")
    assert more == ""
    assert [policy.version for policy in history] == list(range(25, 0, -1))
    assert {policy.settings["cache"]["ttl_seconds"] for policy in history} == set(range(1, 26))


async def test_a_thousand_changes_at_once_all_land_in_some_order(policies: Policies) -> None:
    def limit(number: int) -> dict[str, Any]:
        return {"rate_limits": {"requests_per_minute": number}}

    async def change(number: int) -> int:
        return (await policies.update(OPERATES, "org_a", limit(number), None)).version

    versions = await asyncio.gather(*(change(number) for number in range(1, 1001)))
    assert sorted(versions) == list(range(1, 1001))
    history = [policy async for policy in _all_versions(policies)]
    assert len(history) == 1000
    said = {policy.version: policy.settings for policy in history}
    assert all(said[version] == limit(number) for number, version in enumerate(versions, start=1))


async def test_of_a_thousand_changes_to_one_version_over_two_replicas_one_wins(tmp_path: Path, database: str) -> None:
    clock = ManualClock()
    with closing(open_store(tmp_path, database)) as one, closing(open_store(tmp_path, database)) as other:
        organization = Organization("org_a", "A", "ada", "", clock.now())
        await one.change(lambda transaction: transaction.add_organization(organization))
        replicas = [Policies(store, clock, lambda: None) for store in (one, other)]
        settings = [{"cache": {"ttl_seconds": number}} for number in range(1, 1001)]
        ended = await asyncio.gather(
            *(replicas[number % 2].update(OPERATES, "org_a", one, 0) for number, one in enumerate(settings)),
            return_exceptions=True,
        )
        won = [end for end in ended if not isinstance(end, BaseException)]
        assert [policy.version for policy in won] == [1]
        assert sum(isinstance(end, VersionConflict) for end in ended) == 999
        (kept,), _ = await replicas[0].history("org_a", 0, "")
        assert kept.settings == won[0].settings


async def _all_versions(policies: Policies) -> AsyncIterator[Any]:
    token = ""
    while True:
        page, token = await policies.history("org_a", 300, token)
        for policy in page:
            yield policy
        if not token:
            return


async def test_a_policy_of_another_or_no_organization_is_refused_alike(policies: Policies) -> None:
    for organization_id in ("org_b", ""):
        with pytest.raises(OrganizationMismatch, match=no_organization().message[:30]):
            await policies.get(organization_id)
        with pytest.raises(OrganizationMismatch):
            await policies.update(OPERATES, organization_id, {}, None)
        with pytest.raises(OrganizationMismatch):
            await policies.history(organization_id, 0, "")
    with pytest.raises(InvalidApiKey):
        await policies.update(ActingKey("key_unknown"), "org_a", {}, None)


@pytest.mark.parametrize(
    ("changes", "param", "says"),
    [
        ({"alowed_models": ["x"]}, "alowed_models", "did you mean 'allowed_models'"),
        ({"quality": {"floor": 5.1}}, "quality.floor", "'5.1' is not a number from 0 to 5"),
        ({"quality": {"floor": "high"}}, "quality.floor", "'high' is not a number"),
        ({"quality": 3}, "quality", "'3' is not an object"),
        ({"quality": {"flor": 3}}, "quality.flor", "did you mean 'floor'"),
        ({"allowed_models": []}, "allowed_models", "lock everybody out"),
        ({"allowed_providers": []}, "allowed_providers", "lock everybody out"),
        ({"allowed_models": "gpt-*"}, "allowed_models", "is not a list"),
        ({"allowed_models": ["gpt-*", " "]}, "allowed_models[1]", "1 to 200 printable characters"),
        ({"allowed_models": ["gpt-[6"]}, "allowed_models[0]", "a pattern of model ids"),
        ({"allowed_models": ["gpt-*", "gpt 6"]}, "allowed_models[1]", "a pattern of model ids"),
        ({"allowed_providers": ["open*"]}, "allowed_providers[0]", "patterns are not taken"),
        ({"cache": {"tiers": [1, 4]}}, "cache.tiers[1]", "from 1 to 3"),
        ({"cache": {"tiers": [1, 1]}}, "cache.tiers", "each once"),
        ({"cache": {"ttl_seconds": 0}}, "cache.ttl_seconds", "from 1 to"),
        ({"cache": {"ttl_seconds": 1.5}}, "cache.ttl_seconds", "whole number"),
        ({"cache": {"ttl_seconds": True}}, "cache.ttl_seconds", "whole number"),
        ({"cache": {"share_between_users": "some"}}, "cache.share_between_users", "one of exact, all, none"),
        ({"rate_limits": {"requests_per_minute": 0}}, "rate_limits.requests_per_minute", "from 1 to"),
        ({"rate_limits": {"per_user": {"per_user": {}}}}, "rate_limits.per_user.per_user", "no such field"),
        ({"timezone": "Europe/Berlinn"}, "timezone", "did you mean Europe/Berlin"),
        ({"learning": {"cascade": "on"}}, "learning.cascade", "one of off, hard_checks, calibrated"),
        ({"learning": {"share_outcomes": "yes"}}, "learning.share_outcomes", "true or false"),
        ({"learning": {"exploration": 1.5}}, "learning.exploration", "a number from 0 to 1"),
        ({"learning": {"exploration": False}}, "learning.exploration", "a number from 0 to 1"),
        ({"learning": {"exploraton": 0}}, "learning.exploraton", "did you mean 'exploration'"),
        ({"alerts": {"webhook": "x"}}, "alerts.webhook", "did you mean 'webhook_url'"),
        ({"alerts": {"webhook_url": "ftp://example.com/"}}, "alerts.webhook_url", "an https address"),
        ({"alerts": {"webhook_url": "https://a:b@example.com/"}}, "alerts.webhook_url", "without a user"),
        ({"alerts": {"webhook_url": "https://example.com:99999/"}}, "alerts.webhook_url", "an https address"),
        ({"retention": 3}, "retention", "is not an object"),
        ({"retention": {"usage_days": 6}}, "retention.usage_days", "from 7 to 3660"),
        ({"strict_revocation": 1}, "strict_revocation", "true or false"),
        ({"baseline_model": "x" * 201}, "baseline_model", "1 to 200"),
        ({"learning": {"shadow_share": 1.1}}, "learning.shadow_share", "0 to 1"),
        ({"learning": {"judge": ""}}, "learning.judge", "1 to 200"),
        ({"learning": {"monthly_limit_usd": -1}}, "learning.monthly_limit_usd", "0 to 1000000000"),
        ({"learning": {"monthly_limit_usd": 0.0000000001}}, "learning.monthly_limit_usd", "nine decimals"),
    ],
)
def test_what_a_policy_cannot_say_is_named_with_what_it_can(changes: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says.replace("[", r"\[")) as caught:
        changed({}, changes)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"learning": {"cascade": "calibrated"}}, "learning.cascade"),
        ({"quality": {"confidence": 0.9}}, "quality.confidence"),
    ],
)
def test_what_nothing_honours_yet_is_refused_by_name(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(NotImplementedYet, match=f"'{param}'"):
        changed({}, changes)


_BUDGET = {"per": "organization", "window": "day", "limit_usd": 5, "action": "block"}


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"per": "everybody"}, "per"),
        ({"per": "tag:"}, "per"),
        ({"window": "minute"}, "window"),
        ({"limit_usd": 0}, "limit_usd"),
        ({"limit_usd": 0.0000000001}, "limit_usd"),
        ({"limit_usd": "5"}, "limit_usd"),
        ({"action": "warn"}, "action"),
        ({"action": None}, "action"),
        ({"alert_at": [0.8, 0.5]}, "alert_at"),
        ({"alert_at": [1.1]}, "alert_at"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"limit": 5}, "limit"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused_by_its_field(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        changed({}, {"budgets": [_BUDGET, {**_BUDGET, **wrong}]})
    assert caught.value.param == f"budgets[1].{param}"


def test_budgets_are_told_in_nano_dollars_with_their_defaults() -> None:
    tagged = {
        "per": "tag:team",
        "window": "month",
        "limit_usd": 0.000000001,
        "action": "alert",
        "timezone": "Asia/Tokyo",
    }
    policy = effective(changed({}, {"budgets": [_BUDGET, tagged]}))
    assert [(one.per, one.limit_nanos, one.timezone, list(one.alert_at)) for one in policy.budgets] == [
        ("organization", 5_000_000_000, "", [0.5, 0.8, 1.0]),
        ("tag:team", 1, "Asia/Tokyo", [0.5, 0.8, 1.0]),
    ]
    assert not effective(changed({"budgets": [_BUDGET]}, {"budgets": None})).budgets


def test_patterns_that_ids_can_match_are_taken() -> None:
    patterns = ["gpt-[56].?-*", "claude-[!3]*", "meta-llama/Llama-3:free", "*"]
    assert changed({}, {"allowed_models": patterns})["allowed_models"] == patterns


def test_alerts_have_an_address() -> None:
    settings = changed({}, {"alerts": {"webhook_url": "https://example.com/hook?x=1"}})
    assert effective(settings).alerts.webhook_url == "https://example.com/hook?x=1"
    assert effective(changed(settings, {"alerts": {"webhook_url": None}})).alerts.webhook_url == ""


def test_the_defaults_themselves_can_be_set() -> None:
    effective(changed({}, DEFAULTS))
    assert changed({}, {"budgets": [], "alerts": {"webhook_url": None}, "learning": {"judge": None}}) == {"budgets": []}


async def test_a_change_reaches_verdicts_and_watchers(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, DATABASE_URL=database) as auth:
        made = await auth.signup()
        watch = auth.stub.Watch(pb.WatchRequest())
        await anext(aiter(watch))
        request = pb.UpdatePolicyRequest(actor=acting(made.api_key), organization_id=made.organization_id)
        request.changes.update({"rate_limits": {"requests_per_minute": 60}, "allowed_models": ["gpt-*"]})
        answered = (await auth.stub.UpdatePolicy(request)).policy
        assert (answered.version, answered.updated_by) == (1, made.api_key.id)
        assert MessageToDict(answered.settings)["rate_limits"] == {"requests_per_minute": 60}
        async for event in watch:
            if event.WhichOneof("event") == "organization_id":
                assert event.organization_id == made.organization_id
                break
        verdict = await auth.authenticate(made.secret)
        assert (verdict.policy.rate_limits.requests_per_minute, verdict.policy_version) == (60, 1)
        assert list(verdict.policy.allowed_models) == ["gpt-*"]
        await _close(watch)


async def _close(watch: Any) -> None:
    await watch.aclose() if hasattr(watch, "aclose") else watch.cancel()


async def test_only_who_governs_changes_a_policy(tmp_path: Path) -> None:
    async with running(tmp_path) as auth:
        made = await auth.signup()
        plain = await auth.create(made.api_key)
        request = pb.UpdatePolicyRequest(organization_id=made.organization_id)
        for actor, refused in ((acting(plain.api_key), True), (acting(made.api_key), False), (OPERATOR, False)):
            request.actor.CopyFrom(actor)
            if refused:
                with pytest.raises(Exception, match="scope 'admin'"):
                    await auth.stub.UpdatePolicy(request)
            else:
                await auth.stub.UpdatePolicy(request)
