"""At least 100 000 random steps over flights, holds, the delivery of usage and breakers, on virtual clocks.

`python -m tests.simulation --steps 100000 --seed 1`: no process, no socket, no waiting; what travels between the parts
arrives in order, but arbitrarily late, and parts fail and begin anew in between. The same seed takes the same steps.
The parts are the product's own; each is compared with a model after every step. Holds in the ledger have
`tests.ledger_steps` besides, on a real database.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, run_state_machine_as_test

from services.cache.tests.test_flights_under_any_schedule import FlightsMachine
from services.edge.tests.outbox_steps import OutboxSteps
from services.edge.tests.test_any_interleaving import STEPS, play
from services.router.tests.breaker_steps import BreakerSteps

_STEPS_A_RUN = 60


class _Counted(FlightsMachine):
    """Counts its steps, which the others do themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    @invariant()
    def one_step_more(self) -> None:
        self.steps += 1


def _machine(machine: type[RuleBasedStateMachine]) -> Callable[[int, int], int]:
    """What runs a machine for so many steps with a seed, and returns how many there were."""

    def run(steps: int, number: int) -> int:
        done = 0

        class Run(machine):  # type: ignore[misc,valid-type]
            def teardown(self) -> None:
                nonlocal done
                done += self.steps
                super().teardown()

        while done < steps:
            number += 1
            run_state_machine_as_test(seed(number)(Run), settings=_settings(max(20, (steps - done) // _STEPS_A_RUN)))
        return done

    return run


def _interleavings(steps: int, number: int) -> int:
    """Callers who come and leave at an edge while calls stream, fail and end; see `test_any_interleaving`."""
    done = 0
    step = st.tuples(st.sampled_from(STEPS), st.integers(0, 1_000))

    def run(taken: list[tuple[str, int]]) -> None:
        nonlocal done
        done += len(taken)
        asyncio.run(play([("ask", 0), ("pause", 0), *taken]))

    while done < steps:
        number += 1
        several = given(st.lists(step, min_size=40, max_size=_STEPS_A_RUN))(run)
        seed(number)(_settings(max(20, (steps - done) // _STEPS_A_RUN))(several))()
    return done


def _settings(runs: int) -> settings:
    return settings(
        max_examples=runs,
        stateful_step_count=_STEPS_A_RUN,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


_PARTS: dict[str, tuple[float, Callable[[int, int], int]]] = {
    "flights between edges": (0.3, _machine(_Counted)),
    "flights and callers at an edge": (0.2, _interleavings),
    "delivery of usage": (0.25, _machine(OutboxSteps)),
    "breakers": (0.25, _machine(BreakerSteps)),
}
"""What is simulated, with its share of the steps."""


def simulate(steps: int, number: int) -> int:
    """Takes at least so many steps; raises what hypothesis finds."""
    done = 0
    for name, (share, run) in _PARTS.items():
        began = time.monotonic()
        taken = run(int(steps * share) + 1, number * 1_000_000)
        done += taken
        print(f"{name}: {taken} steps in {time.monotonic() - began:.0f} s, each as the model says", flush=True)
    return done


def main() -> int:
    """Runs the rig."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="steps at least")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run's steps")
    options = parser.parse_args()
    print(f"{simulate(options.steps, options.seed)} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
