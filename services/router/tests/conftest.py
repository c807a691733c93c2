"""One provider simulator for all tests of this folder, without rules at the start of each; one thread, as served."""

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

from simulator.tests.running import RunningSimulator, running_simulator


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    threadpool_limits(1, "blas")


@pytest.fixture(scope="session")
def shared_simulator() -> Iterator[RunningSimulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(shared_simulator: RunningSimulator) -> RunningSimulator:
    shared_simulator.reset()
    return shared_simulator
