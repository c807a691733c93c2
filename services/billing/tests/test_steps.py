"""A few hundred steps of `LedgerSteps`; `python -m tests.ledger_steps` takes 20 000."""

from hypothesis import settings

from services.billing.tests.steps import LedgerSteps

TestLedgerSteps = LedgerSteps.TestCase
TestLedgerSteps.settings = settings(max_examples=8, stateful_step_count=25, deadline=None)
