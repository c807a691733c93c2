"""A workflow on a long document: after a change exactly the steps that it reaches are paid for again."""

from pathlib import Path

from tests.installation import running_installation
from tests.workflows import VARYING, changes, faults, run


def test_exactly_the_steps_that_a_change_reaches_are_run_again(tmp_path: Path) -> None:
    with running_installation(tmp_path, environment=VARYING) as installation:
        organization, before = installation.signup(), None
        for change in changes():
            seen = run(organization, change)
            assert faults(change, seen, before) == [], change.name
            before = seen
