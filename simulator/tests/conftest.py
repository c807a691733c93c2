"""One simulator for all tests of this folder, without rules at the start of each."""

from collections.abc import AsyncIterator, Iterator

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from simulator.tests.running import RunningSimulator, running_simulator


@pytest.fixture(scope="session")
def shared_simulator() -> Iterator[RunningSimulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(shared_simulator: RunningSimulator) -> RunningSimulator:
    shared_simulator.reset()
    return shared_simulator


@pytest.fixture
async def openai(simulator: RunningSimulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key="none", base_url=f"{simulator.url}/v1", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
async def anthropic(simulator: RunningSimulator) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(api_key="none", base_url=simulator.url, max_retries=0, timeout=60) as client:
        yield client
