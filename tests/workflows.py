"""A workflow of five steps on a document of 50 pages: which steps are run again when something changes.

`python -m tests.workflows` prints, change by change, the steps that were answered anew, the calls that the provider
simulator counted, and what the answer, its steps and the ledger say it cost, beside what `/quote` had said of each step
before; exit code 1 if any of these disagree, or if more was paid than was quoted at most.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx2

from tests.installation import PATIENT, Installation, Organization, running_installation
from tests.ledger import call_records
from tests.simulator import SimulatorControl

VARYING = {**PATIENT, "simulator": {"ASAHI_SIMULATOR_DETERMINISTIC": "false"}}
"""No two answers of the provider are alike: the same text again was kept."""
_PAGES, _PARAGRAPHS, _WORDS = 50, 5, 100
_VOCABULARY = [
    "the",
    "party",
    "shall",
    "deliver",
    "goods",
    "within",
    "days",
    "after",
    "notice",
    "of",
    "payment",
    "unless",
    "otherwise",
    "agreed",
    "in",
    "writing",
]
STEPS: list[dict[str, Any]] = [
    {"id": "facts", "prompt": "List the facts of {{document}}", "type": "extract"},
    {"id": "risks", "prompt": "Name the risks in {{document}}"},
    {"id": "plan", "prompt": "Say in three points how to answer: {{prompt}}"},
    {"id": "form", "prompt": "Write the outline of a short memorandum."},
    {
        "id": "memo",
        "prompt": "{{form}} {{plan}} {{facts}} {{risks}}",
        "depends_on": ["facts", "risks", "plan", "form"],
    },
]


@dataclass(frozen=True, slots=True)
class Change:
    """What is sent, and which steps must be answered anew."""

    name: str
    sent: dict[str, Any]
    anew: frozenset[str]


@dataclass(slots=True)
class Seen:
    """What came of it."""

    body: dict[str, Any]
    anew: frozenset[str]
    calls: int
    """At the simulator."""
    recorded_nanos: int
    texts: dict[str, str]
    """By step: the result that is kept of it."""
    quote: dict[str, Any]
    """What was said before of what it would cost."""


def document(changed_paragraph: bool = False) -> str:
    """Fifty pages of about 500 words, with a heading each."""
    random = Random(7)
    pages = []
    for page in range(1, _PAGES + 1):
        paragraphs = [" ".join(random.choices(_VOCABULARY, k=_WORDS)) + "." for _ in range(_PARAGRAPHS)]
        if changed_paragraph and page == _PAGES // 2:
            paragraphs[2] = "The buyer may leave at any time."
        pages.append("\n\n".join([f"# {page}", *paragraphs]))
    return "\n\n".join(pages)


def changes() -> Iterator[Change]:
    """First as it is, then with one thing changed after the other."""
    sent: dict[str, Any] = {
        "prompt": "Shall we sign?",
        "document": document(),
        "document_id": "contract",
        "steps": STEPS,
    }
    everything = frozenset(step["id"] for step in STEPS)
    yield Change("first", sent, everything)
    yield Change("nothing", sent, frozenset())
    sent = {**sent, "document": document(changed_paragraph=True)}
    yield Change("one paragraph", sent, frozenset({"facts", "risks", "memo"}))
    sent = {**sent, "prompt": "Shall we not sign?"}
    yield Change("the question", sent, frozenset({"plan", "memo"}))
    form = {**STEPS[3], "prompt": "Write the outline of a letter."}
    sent = {**sent, "steps": [*STEPS[:3], form, STEPS[4]]}
    yield Change("a template", sent, frozenset({"form", "memo"}))
    yield Change("nothing again", sent, frozenset())


def run(organization: Organization, change: Change) -> Seen:
    """Sends it, and asks for the kept result of each step by itself."""
    installation = organization.installation
    control = SimulatorControl(installation.url_of("simulator"))
    with organization.client() as client:
        quoted = client.post("/quote", json=change.sent)
        assert quoted.status_code == 200, quoted.text
        answer = client.post("/infer", json=change.sent)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        texts = {step["id"]: _kept(client, change, step) for step in change.sent["steps"] if "depends_on" not in step}
    texts["memo"] = body["response"]
    calls = control.calls(body["request_id"])
    return Seen(
        body=body,
        anew=frozenset(step["id"] for step in body["steps"] if not step["tier"]),
        calls=len(calls),
        recorded_nanos=_recorded(installation, organization, body["request_id"], len(calls)),
        texts=texts,
        quote=quoted.json(),
    )


def faults(change: Change, seen: Seen, before: Seen | None) -> list[str]:
    """What is wrong."""
    wrong = []
    if seen.anew != change.anew:
        wrong.append(f"answered anew: {sorted(seen.anew)}, not {sorted(change.anew)}")
    if seen.calls != len(change.anew):
        wrong.append(f"{seen.calls} calls for {len(change.anew)} steps")
    nanos = round(seen.body["cost"] * 1e9)
    steps = sum(round(step["cost"] * 1e9) for step in seen.body["steps"])
    if not nanos == steps == seen.recorded_nanos:
        wrong.append(f"cost {nanos}, of its steps {steps}, in the ledger {seen.recorded_nanos} nano-dollars")
    wrong += _misquoted(change, seen)
    if before is not None:
        kept = before.texts.keys() - change.anew
        others = [name for name in sorted(kept) if seen.texts[name] != before.texts[name]]
        wrong += [f"another text of {name}, which nothing changed for" for name in others]
    return wrong


def _misquoted(change: Change, seen: Seen) -> list[str]:
    """Where the quote was wrong: about the steps that would run, their models, or the most that they would cost.

    A step that reads what was not there yet is quoted without its text: a model may be chosen that suits it better.
    """
    wrong = []
    steps = {step["id"]: step for step in seen.quote["steps"]}
    called = {name for name, step in steps.items() if not step["cache"]["hit"]}
    if called != change.anew:
        wrong.append(f"quoted as answered anew: {sorted(called)}")
    for paid in seen.body["steps"]:
        told = steps[paid["id"]]
        differs = paid["id"] in change.anew and paid["model"] != told["model"]
        if differs and not told["estimated"]:
            wrong.append(f"{paid['id']} was quoted for {told['model']} and answered by {paid['model']}")
        if not differs and told["max_cost"] is not None and paid["cost"] > told["max_cost"]:
            wrong.append(f"{paid['id']} cost {paid['cost']} and was quoted at {told['max_cost']} at most")
    if (seen.quote["expected_cost"] > 0) != bool(change.anew):
        wrong.append(f"${seen.quote['expected_cost']} were expected")
    return wrong


def _kept(client: httpx2.Client, change: Change, step: dict[str, Any]) -> str:
    answer = client.post("/infer", json={**change.sent, "steps": [step]}).json()
    assert answer["cache_tier"] == 3, f"the result of {step['id']} is not kept"
    return str(answer["response"])


def _recorded(installation: Installation, organization: Organization, request_id: str, calls: int) -> int:
    """Nano-dollars that the ledger has for the request, once all its calls are there."""
    for _ in range(200):
        records = call_records(installation.data, organization.id)
        own = [record for record in records if record["request_id"] == request_id]
        if len(own) >= calls:
            return sum(record["cost_nanos"] for record in own)
        time.sleep(0.05)
    raise AssertionError(f"{len(own)} records of {calls} calls")


def main() -> int:
    """Runs the rig."""
    fine = True
    with (
        tempfile.TemporaryDirectory(prefix="asahi-workflows-") as folder,
        running_installation(Path(folder), environment=VARYING) as installation,
    ):
        organization, before = installation.signup(), None
        print(f"a document of {_PAGES} pages, {len(document()):,} characters")
        for change in changes():
            seen = run(organization, change)
            wrong = faults(change, seen, before)
            fine &= not wrong
            print(
                f"changed: {change.name}; answered anew: {', '.join(sorted(seen.anew)) or 'none'}; {seen.calls} calls, "
                f"{seen.recorded_nanos} nano-dollars in the ledger, {round(seen.quote['expected_cost'] * 1e9)} quoted; "
                f"{'; '.join(wrong) or 'fine'}",
                flush=True,
            )
            before = seen
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
