"""Asks a running edge what its OpenAPI document allows and what it forbids, and holds every answer against it.

    python -m tests.schemathesis_run --cases 5000

Starts an installation of its own. No answer may be a 5xx other than a documented 501, or a 504 where the case set a
latency budget; none may have a status or a media type that the document lacks, or not fit its schema.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.installation import Organization, running_installation

AnyCase = Case[Any]

_CHECKS: list[Any] = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_TIMEOUT_S = 60.0
_MODELS = ("asahi", "asahi/low", "gpt-6-luna", "claude-haiku-5-5")


@dataclass(slots=True)
class Outcome:
    """What was asked and what was found."""

    cases: int = 0
    answered: str = ""
    """The id of a request that was answered."""
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Cases by operation and status."""
        lines = [f"{label:60} {status}  {count}" for (label, status), count in sorted(self.statuses.items())]
        return "\n".join([*lines, f"{self.cases} cases, {len(self.faults)} faults"])


def fuzz(organization: Organization, cases: int, *, chosen: str = "", number: int = 1) -> Outcome:
    """Asks about `cases` questions, half of them as documented, half not; `number` seeds them."""
    outcome = Outcome()
    url = organization.installation.url
    document = requests.get(f"{url}/openapi.json", timeout=_TIMEOUT_S).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    found: list[Any] = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    operations = [one for one in found if chosen in one.label]
    with requests.Session() as session:
        session.headers.update(organization.headers)

        def ask(operations: list[Any], count: int, number: int) -> None:
            for operation in operations:
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    try:
                        strategy = operation.as_strategy(generation_mode=mode)
                        _ask(strategy, count, number, lambda case: _hold(case, session, organization, outcome))
                    except Unsatisfiable:
                        continue  # nothing can be wrong about a path without parameters

        while operations and outcome.cases < cases:  # hypothesis gives up where a path allows few different questions
            ask(operations, max(1, (cases - outcome.cases) // len(operations) // 2), number)
            number += 1
    return outcome


def _ask(strategy: Any, count: int, number: int, hold: Callable[[AnyCase], None]) -> None:
    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def ask(case: AnyCase) -> None:
        hold(case)

    ask()


def _hold(case: AnyCase, session: requests.Session, organization: Organization, outcome: Outcome) -> None:
    """Asks, and notes what is wrong with the answer; goes on, so that one run finds all."""
    _make_real(case, organization, outcome)
    response = case.call(session=session, timeout=_TIMEOUT_S)
    if (
        case.operation.path == "/infer"
        and response.status_code == 200
        and "json" in response.headers["content-type"][0]
    ):
        outcome.answered = response.json()["request_id"]
    outcome.cases += 1
    outcome.statuses[case.operation.label, response.status_code] += 1
    fault = ""
    if response.status_code >= 500 and not _may_fail(case, response.status_code):
        fault = f"a {response.status_code}"
    else:
        try:
            case.validate_response(response, checks=_CHECKS)
        except FailureGroup as group:
            fault = "; ".join(f"{type(one).__name__}: {one.message}" for one in group.exceptions)
    if fault:
        answer = f"{response.status_code} {response.text[:500]}"
        outcome.faults.append(f"{case.as_curl_command()}\n    {fault}\n    {answer}")


def _make_real(case: AnyCase, organization: Organization, outcome: Outcome) -> None:
    """Puts names that exist in the place of most that were made up: else most questions would end at the first of them.

    Headers that refuse a question by themselves are left in one of eight.
    """
    strict = outcome.cases % 8 == 0
    if not strict:
        case.headers.pop("x-admin-secret", None)
        case.headers.pop("Idempotency-Key", None)
    for place in (case.body, case.query):
        if isinstance(place, dict) and not strict:
            for name in ("organization_id", "org_id"):
                if isinstance(place.get(name), str):
                    place[name] = organization.id
            if isinstance(place.get("request_id"), str) and outcome.answered:
                place["request_id"] = outcome.answered
            if isinstance(place.get("model"), str):
                place["model"] = _MODELS[outcome.cases % len(_MODELS)]
            if isinstance(place.get("model_override"), str):
                place["model_override"] = "gpt-6-luna"
    if not strict and isinstance(case.path_parameters, dict) and "model" in case.path_parameters:
        case.path_parameters["model"] = _MODELS[outcome.cases % len(_MODELS)]


def _may_fail(case: AnyCase, status: int) -> bool:
    if status == 504:
        return "latency_budget_ms" in str(case.body) or "latency_budget_ms" in str(case.headers)
    return status == 501 or (case.operation.path == "/health" and status == 503)


def main() -> int:
    """Prints the table and the faults; 1 if there are any."""
    parser = argparse.ArgumentParser(description="Fuzz a whole installation by its OpenAPI document.")
    parser.add_argument("--cases", type=int, default=5000, help="how many questions are asked (about)")
    parser.add_argument("--only", default="", help="operations whose label contains this, such as 'POST /infer'")
    parser.add_argument("--seed", type=int, default=1, help="another seed asks other questions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_installation(Path(folder)) as installation:
        outcome = fuzz(installation.signup(), options.cases, chosen=options.only, number=options.seed)
    sys.stdout.write("\n\n".join([outcome.table(), *dict.fromkeys(outcome.faults)]) + "\n")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
