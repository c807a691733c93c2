"""Breakers whatever the order in which calls begin, answer, fail and are left (`breaker_steps`)."""

from hypothesis import settings

from services.router.tests.breaker_steps import BreakerSteps

TestBreakers = BreakerSteps.TestCase
TestBreakers.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
