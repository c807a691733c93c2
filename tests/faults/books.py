"""What the clients saw, for comparison with what the provider counted and what the ledger says."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose last byte came."""

    organization_id: str
    request_id: str
    text: str
    cost: float
    """Dollars."""
    finish: str
    degraded: str
    """The header that says so."""
    key: str = ""
    """Its Idempotency-Key, if it had one."""


@dataclass(slots=True)
class ClientsBook:
    """Everything that the clients of one run saw."""

    seen: Counter[str] = field(default_factory=Counter)
    answers: list[Answer] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    """Keys whose revocation was acknowledged."""
    policy_written: int = 0
    """The last number that was acknowledged in the policy."""
    policy_sent: int = 0
    """The last number that was sent."""
    common: set[tuple[str, str]] = field(default_factory=set)
    """Questions that were asked more than once, by organisation."""


@dataclass(frozen=True, slots=True)
class Books:
    """The three books at the end of a run."""

    clients: ClientsBook
    calls: list[dict[str, Any]]
    """The simulator's."""
    records: list[dict[str, Any]]
    """The ledger's, of provider calls."""

    def faults(self, *, edges_broken: bool) -> list[str]:
        """Where they differ. `edges_broken`: an edge was killed, so that intents may have become orphans."""
        wrong = [*self._lost_and_doubled(), *self._answers()]
        if not edges_broken:
            wrong += [f"{_key(row)} is an orphan, and no edge was broken" for row in self.records if row["orphan"]]
        return wrong

    def _lost_and_doubled(self) -> list[str]:
        recorded = Counter(map(_key, self.records))
        wrong = [f"the provider's call {_key(call)} has no record" for call in self.calls if not recorded[_key(call)]]
        return wrong + [f"the provider's call {key} has {n} records" for key, n in recorded.items() if n > 1]

    def _answers(self) -> list[str]:
        rows = defaultdict(list)
        for row in self.records:
            rows[row["request_id"]].append(row)
        calls = defaultdict(list)
        for call in self.calls:
            calls[call["request_id"]].append(call)
        owners = {row["request_id"]: row["organization_id"] for row in self.records}
        written: defaultdict[str, set[str]] = defaultdict(set)
        for call in self.calls:
            written[call["text_sha256"]].add(owners.get(call["request_id"], ""))
        wrong: list[str] = []
        texts: defaultdict[str, set[str]] = defaultdict(set)
        for answer in self.clients.answers:
            wrong += _text_faults(answer, written)
            if answer.cost > 0:
                wrong += _bill_faults(answer, calls[answer.request_id], rows[answer.request_id])
            if answer.key:
                texts[answer.key].add(answer.text)
        wrong += [
            f"the Idempotency-Key {key} had {len(found)} answers" for key, found in texts.items() if len(found) > 1
        ]
        return wrong + self._made_twice()

    def _made_twice(self) -> list[str]:
        """Keys under which more than one call reached a caller."""
        reached = Counter(row["key"] for row in self.records if row["answered"] and not row["orphan"] and row["key"])
        return [f"the Idempotency-Key {key} was answered by {n} calls" for key, n in reached.items() if n > 1]


def _key(row: dict[str, Any]) -> tuple[str, int]:
    return row["request_id"], int(row["attempt"])


def _text_faults(answer: Answer, written: Mapping[str, set[str]]) -> list[str]:
    """`written`: for whom the provider wrote a text; more than one may have got the same words by chance."""
    if answer.finish != "stop":
        return []
    owners = written.get(sha256(answer.text.encode()).hexdigest())
    if owners is None:
        return [f"{answer.request_id} got a text that the provider never wrote as a whole"]
    return [] if answer.organization_id in owners else [f"{answer.request_id} got an answer of another organization"]


def _bill_faults(answer: Answer, calls: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[str]:
    """An answer that was paid: its call, and the record of that, which a stated gap allows to be an estimate."""
    if not calls:
        return [f"{answer.request_id} was billed, and no provider call was made for it"]
    last = max(calls, key=_key)
    row = next((row for row in rows if _key(row) == _key(last)), None)
    if row is None or "billing" in answer.degraded:
        return []
    wrong = []
    if row["orphan"] or not row["answered"]:
        wrong.append(f"{_key(row)} reached its caller, and its record says that it did not")
    counted = (last["prompt_tokens"] - last["cached_tokens"], last["cached_tokens"], last["completion_tokens"])
    recorded = (row["input_tokens"], row["cache_read_tokens"], row["output_tokens"])
    if last["outcome"] == "answered" and counted != recorded:
        wrong.append(f"{_key(row)}: the provider counted {counted}, the record says {recorded}")
    return wrong
