"""By policy a second model is asked after the answer: within the month's limit, booked as overhead, learned from."""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from typing import Any, TypeVar

import httpx2
import pytest

from asahi_core.money import NANOS_PER_DOLLAR
from tests.installation import Installation, Organization, running_installation
from tests.ledger import call_records
from tests.simulator import SimulatorControl

T = TypeVar("T")
BASELINE, CHEAP = "gpt-6.1-sol", "gpt-6-luna"
SETTLED_WITHIN_S = 60.0
"""Until the router has written what was compared: it does so every fifteen seconds."""
RIGHT = "The harbor of Bergen was rebuilt after the fire of 1702, by its merchants, who kept the old plots and lanes."
WRONG = "Nobody knows anything about that town, which has neither a harbor nor any merchants worth the mention at all."
TEXTS = [
    {"mode": "answer", "match": {"model": BASELINE, "contains": "harbor number"}, "params": {"text": RIGHT}},
    {"mode": "answer", "match": {"model": CHEAP, "contains": "harbor number"}, "params": {"text": WRONG}},
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with two edges over the simulator."""
    environment = {"edge": {"ASAHI_SHADOW_QUESTIONS": "100"}}
    folder = tmp_path_factory.mktemp("second")
    with running_installation(folder, edges=2, environment=environment) as installation:
        yield installation


@pytest.fixture
def control(running: Installation) -> SimulatorControl:
    """The simulator, which answers wrongly as the cheap model."""
    control = SimulatorControl(running.url_of("simulator"))
    control.reset()
    control.rules(*TEXTS)
    return control


def learning(running: Installation, **changes: Any) -> Organization:
    """A new organization that has every answer compared, unless `changes` say otherwise."""
    organization = running.signup()
    policy = {
        "allowed_models": [BASELINE, CHEAP],
        "baseline_model": BASELINE,
        "quality": {"floor": 0, "default_threshold": 1.0},
        "learning": {"shadow_share": 1, "judge": "local", "monthly_limit_usd": 10} | changes,
    }
    with organization.client() as client:
        answer = client.post(f"/governance/policies/{organization.id}", json=policy)
    assert answer.status_code == 200, answer.text
    told = answer.json()["learning"]
    assert {name: told[name] for name in policy["learning"]} == policy["learning"]
    return organization


def ask(organization: Organization, number: int, *, edge: str = "edge", **fields: Any) -> dict[str, Any]:
    """Answers a question of its own."""
    with organization.client(edge) as client:
        return asked(client, number, **fields)


def asked(client: httpx2.Client, number: int, **fields: Any) -> dict[str, Any]:
    answer = client.post("/infer", json={"prompt": f"What is known about harbor number {number}?", **fields})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def seconds(running: Installation, organization: Organization) -> list[dict[str, Any]]:
    """The records of calls that answered nobody."""
    return [one for one in call_records(running.data, organization.id) if one["purpose"]]


def pairs(running: Installation, organization: Organization) -> list[dict[str, Any]]:
    """What the router has learned from comparing."""
    with closing(sqlite3.connect(f"file:{running.data / 'router.db'}?mode=ro", uri=True, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        query = "SELECT * FROM examples WHERE organization_id = ? AND given_model <> ''"
        return [dict(row) for row in connection.execute(query, (organization.id,))]


def until(found: Callable[[], T], enough: Callable[[T], bool]) -> T:
    """What is found when it is enough, or when time is up."""
    ends = time.monotonic() + SETTLED_WITHIN_S
    while not enough(one := found()) and time.monotonic() < ends:
        time.sleep(0.1)
    return one


def paid(nanos: int) -> Decimal:
    """In dollars."""
    return Decimal(nanos) / NANOS_PER_DOLLAR


def tokens_by_call(calls: Sequence[dict[str, Any]]) -> dict[tuple[str, int], tuple[int, int]]:
    """By request and attempt: tokens of question and answer, as the provider counted them."""
    return {(one["request_id"], int(one["attempt"])): (one["prompt_tokens"], one["completion_tokens"]) for one in calls}


def test_every_answer_is_compared_and_the_books_agree(running: Installation, control: SimulatorControl) -> None:
    organization, other = learning(running), running.signup()
    answers = [ask(organization, number, user_id="ann") for number in range(8)]
    assert {answer["model_used"] for answer in answers} == {CHEAP}
    records = until(lambda: seconds(running, organization), lambda found: len(found) == len(answers))
    assert Counter((one["model"], one["purpose"], one["answered"]) for one in records) == {
        (BASELINE, "shadow", False): len(answers)
    }
    assert all(one["cost_overhead_nanos"] == one["cost_nanos"] > 0 for one in records)
    ledger = call_records(running.data, organization.id)
    assert {(r["request_id"], r["attempt"]): (r["input_tokens"], r["output_tokens"]) for r in ledger} == {
        call: tokens
        for answer in answers
        for call, tokens in tokens_by_call(control.calls(answer["request_id"])).items()
    }, "the ledger has what the provider counted, call by call"

    overhead = sum(one["cost_nanos"] for one in records)
    with organization.client() as client, other.client() as stranger:
        summary = client.get("/analytics/cost-summary", params={"period": "1h"}).json()["data"]
        assert Decimal(str(summary["cost_overhead"])) == paid(overhead)
        assert Decimal(str(summary["total_cost"])) == paid(sum(one["cost_nanos"] for one in ledger))
        assert summary["total_requests"] == len(answers), "a second answer is no request"
        newest = client.get("/analytics/recent-inferences").json()["data"]
        assert {one["model_used"] for one in newest} == {CHEAP}, "a request is told by what answered it"
        foreign = stranger.get("/analytics/cost-summary", params={"period": "1h"}).json()["data"]
        assert foreign["total_cost"] == foreign["cost_overhead"] == 0

    learned = until(lambda: pairs(running, organization), lambda found: len(found) == len(answers))
    assert [(one["given_model"], one["model"], one["judge"]) for one in learned] == [(CHEAP, BASELINE, "local")] * 8
    assert {one["difference"] for one in learned} == {1.0}, "the baseline said something else"
    assert pairs(running, other) == []

    with organization.client() as client:
        assert client.delete("/governance/users/ann/data").status_code == 200
    assert pairs(running, organization) == []
    assert {one["user_id"] for one in seconds(running, organization)} == {""}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"shadow_share": 0}, id="no share"),
        pytest.param({"monthly_limit_usd": 0}, id="no money"),
        pytest.param({"judge": "none"}, id="nobody compares"),
    ],
)
def test_nothing_is_asked_where_the_policy_does_not_say_so(
    running: Installation, control: SimulatorControl, changes: dict[str, Any]
) -> None:
    organization, compares = learning(running, **changes), learning(running)
    for number in range(100, 103):
        ask(organization, number)
    named = ask(compares, 103, routing_mode="explicit", model_override=CHEAP)
    again = ask(compares, 104)
    until(lambda: seconds(running, compares), lambda found: len(found) == 1)
    assert ask(compares, 104)["cache_hit"], "what is answered from the cache is not asked of anybody"
    time.sleep(0.5)
    assert seconds(running, organization) == []
    assert [one["request_id"] for one in seconds(running, compares)] == [again["request_id"]]
    assert len(control.calls(named["request_id"])) == 1


def test_a_model_judges_in_both_orders_within_the_same_money(running: Installation, control: SimulatorControl) -> None:
    def grades(contains: str, text: str) -> dict[str, Any]:
        return {"mode": "answer", "match": {"model": BASELINE, "contains": contains}, "params": {"text": text}}

    control.rules(
        grades(f"{WRONG}\n</first", '{"first": 2, "second": 9}'),
        grades(f"{WRONG}\n</second", '{"first": 8, "second": 3}'),
        *TEXTS,
    )
    organization = learning(running, judge=BASELINE)
    answer = ask(organization, 200)
    records = until(lambda: seconds(running, organization), lambda found: len(found) == 3)
    assert [one["purpose"] for one in records] == ["shadow", "judge", "judge"]
    assert {one["request_id"] for one in records} == {answer["request_id"]}
    assert len(tokens_by_call(control.calls(answer["request_id"]))) == 4, "the answer, the second one, two judgments"
    (learned,) = until(lambda: pairs(running, organization), lambda found: len(found) == 1)
    assert learned["difference"] == pytest.approx((7 + 5) / 20)
    assert learned["judge"] == BASELINE


def test_a_judge_that_says_something_else_teaches_nothing(running: Installation, control: SimulatorControl) -> None:
    organization, told = learning(running, judge=BASELINE), learning(running)
    ask(organization, 250)
    ask(told, 251)
    assert len(until(lambda: seconds(running, organization), lambda found: len(found) == 3)) == 3
    until(lambda: pairs(running, told), lambda found: len(found) == 1)
    assert pairs(running, organization) == []


def test_the_month_is_never_overdrawn_by_two_edges_at_once(running: Installation, control: SimulatorControl) -> None:
    probe = learning(running)
    ask(probe, 300)
    (one,) = until(lambda: seconds(running, probe), lambda found: len(found) == 1)
    limit_nanos = 8 * one["cost_nanos"]
    # What is held is the most that a call may cost: with so short answers not much more than it does.
    organization = learning(running, monthly_limit_usd=float(paid(limit_nanos)))
    with ThreadPoolExecutor(12) as pool:
        list(
            pool.map(
                lambda number: ask(organization, number, edge=("edge", "edge2")[number % 2], max_tokens=60),
                range(301, 361),
            )
        )
    time.sleep(2)
    spent = [record["cost_nanos"] for record in seconds(running, organization)]
    assert 0 < sum(spent) <= limit_nanos
    with organization.client() as client:
        (standing,) = client.get("/governance/usage").json()["data"]["budgets"]
    assert (standing["per"], standing["window"]) == ("learning", "month")
    assert Decimal(str(standing["spent"])) == paid(sum(spent))
    assert standing["left"] >= 0


def test_a_killed_router_loses_no_record_and_doubles_none(running: Installation, control: SimulatorControl) -> None:
    control.rules(
        {"mode": "slow", "match": {"model": BASELINE}, "params": {"first_token_ms": 3000, "text": RIGHT}}, *TEXTS
    )
    organization = learning(running)
    answers = [ask(organization, number) for number in range(400, 404)]
    until(lambda: [c for c in control.calls() if c["model"].startswith(BASELINE)], lambda found: len(found) == 4)
    running["router"].kill()
    running["router"].start()
    running["router"].wait_ready()
    records = until(lambda: seconds(running, organization), lambda found: len(found) == len(answers))
    assert Counter(one["request_id"] for one in records) == Counter(answer["request_id"] for answer in answers)
    assert {one["usage_source"] for one in records} == {3}, "what nobody could tell is estimated"
    time.sleep(6)
    assert len(seconds(running, organization)) == len(answers)
    with organization.client() as client:
        (standing,) = client.get("/governance/usage").json()["data"]["budgets"]
    assert standing["reserved"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/infer", {"prompt": "What is known about harbor number 500?", "stream": True}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "What of harbor number 501?"}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "What of harbor number 502?"}], "max_tokens": 90}),
        ("/v1/responses", {"input": "What is known about harbor number 503?", "stream": True}),
    ],
)
def test_every_protocol_is_compared_streams_too(
    running: Installation, control: SimulatorControl, path: str, body: dict[str, Any]
) -> None:
    organization = learning(running)
    with organization.client() as client:
        answer = client.post(path, json=body if path == "/infer" else {"model": "asahi", **body})
    assert answer.status_code == 200, answer.text
    assert len(until(lambda: seconds(running, organization), lambda found: len(found) == 1)) == 1
    (learned,) = until(lambda: pairs(running, organization), lambda found: len(found) == 1)
    assert learned["difference"] == 1


def test_a_killed_edge_loses_no_record_and_doubles_none(running: Installation, control: SimulatorControl) -> None:
    control.rules(
        {"mode": "slow", "match": {"model": BASELINE}, "params": {"first_token_ms": 2000, "text": RIGHT}}, *TEXTS
    )
    organization = learning(running)
    answers = [ask(organization, number, edge="edge2") for number in range(600, 604)]
    until(lambda: [c for c in control.calls() if c["model"].startswith(BASELINE)], lambda found: len(found) == 4)
    running["edge2"].kill()
    records = until(lambda: seconds(running, organization), lambda found: len(found) == len(answers))
    running["edge2"].start()
    running["edge2"].wait_ready()
    assert Counter(one["request_id"] for one in records) == Counter(answer["request_id"] for answer in answers)
    assert all(one["orphan"] and one["cost_overhead_nanos"] == one["cost_nanos"] > 0 for one in records)
    time.sleep(12)  # what the edge finds in its spool it would settle after ten seconds
    assert seconds(running, organization) == records


def test_a_budget_of_the_organization_is_kept_to_as_well(running: Installation, control: SimulatorControl) -> None:
    organization = learning(running)
    budget = {"per": "organization", "window": "month", "limit_usd": 0.02, "action": "block"}
    with organization.client() as client:
        path = f"/governance/policies/{organization.id}"
        assert client.post(path, json={"budgets": [budget]}).status_code == 200
        statuses = Counter(
            client.post("/infer", json={"prompt": f"What of harbor number {n}?", "max_tokens": 60}).status_code
            for n in range(700, 760)
        )
        time.sleep(2)
        standing = {one["per"]: one for one in client.get("/governance/usage").json()["data"]["budgets"]}
    assert statuses[200] > 0
    spent = sum(one["cost_nanos"] for one in call_records(running.data, organization.id))
    assert Decimal(str(standing["organization"]["spent"])) == paid(spent) <= Decimal("0.02")
    assert standing["organization"]["reserved"] == 0
