"""Two thousand questions made from the OpenAPI document, as it allows and as it does not."""

from tests.installation import Installation
from tests.schemathesis_run import fuzz

CASES = 2000


def test_every_answer_is_as_documented_and_none_is_a_fault(surface: Installation) -> None:
    outcome = fuzz(surface.signup("Fuzz"), CASES)
    assert outcome.cases >= CASES
    assert not outcome.faults, "\n\n".join(outcome.faults[:5])
    answered = {label for (label, status) in outcome.statuses if status in {200, 201}}
    assert {"POST /infer", "POST /v1/chat/completions", "POST /signup", "POST /governance/api-keys"} <= answered
