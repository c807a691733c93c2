"""At least 20 000 random steps over ledger and holds: `python -m tests.ledger_steps [STEPS]`."""

import sys

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from services.billing.tests.steps import LedgerSteps

_STEPS_A_RUN = 50


class _Counted(LedgerSteps):
    done = 0

    def teardown(self) -> None:
        type(self).done += self.steps
        super().teardown()


def main(steps: int = 20_000) -> None:
    """Runs until `steps` are done; raises what hypothesis finds."""
    while _Counted.done < steps:
        runs = max(10, (steps - _Counted.done) // _STEPS_A_RUN)
        run_state_machine_as_test(
            _Counted,
            settings=settings(
                max_examples=runs,
                stateful_step_count=_STEPS_A_RUN,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        print(f"{_Counted.done} steps, every total as the model says", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
