"""The delivery of usage whatever happens in whatever order (`outbox_steps`)."""

from hypothesis import settings

from services.edge.tests.outbox_steps import OutboxSteps

TestOutbox = OutboxSteps.TestCase
TestOutbox.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
