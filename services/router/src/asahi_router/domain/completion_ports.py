"""What completions need of the rest of the router, each as small as it can be."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Protocol

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.router.v1.router_pb2 import CompleteRequest, CompleteResponse, CompleteStart, Decision, Task
from asahi_router.domain.examples import Chance, Example
from asahi_router.domain.features import Features


class Choice(Protocol):
    """A model that may answer, and the provider that serves it."""

    @property
    def model(self) -> str:
        """Catalog id."""
        ...

    @property
    def provider(self) -> str:
        """Id of the provider."""
        ...

    @property
    def provider_model(self) -> str:
        """The model's name as the provider writes it."""
        ...

    @property
    def keeps_when_asked(self) -> bool:
        """Whether its provider keeps the beginning of a prompt only when it is asked to."""
        ...

    @property
    def keeps_prompt(self) -> bool:
        """Whether its provider is asked to keep the question for the next turn, which its caller does not ask."""
        ...

    @property
    def max_cost_nanos(self) -> int | None:
        """Upper bound of a call's cost in nano-dollars; None: the answer's length has no bound."""
        ...

    @property
    def max_output_tokens(self) -> int | None:
        """Most tokens of all answers of a call, thought included; None: no bound is known."""
        ...

    @property
    def added_max_output_tokens(self) -> int:
        """Most tokens of each answer, where the question sets no limit and the policy does; 0: nothing is added."""
        ...

    @property
    def total_ms(self) -> float:
        """Milliseconds that a call is expected to take; 0: not known."""
        ...


class Ranking(Protocol):
    """What was decided."""

    @property
    def decision(self) -> Decision:
        """Which model, and why."""
        ...

    @property
    def chain(self) -> Sequence[Choice]:
        """The models that may answer, in the order in which they are asked; at least one."""
        ...

    @property
    def features(self) -> Features | None:
        """Of the question; None: nothing is learned from its answer, and it is not checked."""
        ...

    @property
    def chance(self) -> Chance | None:
        """How likely it was that the first of the chain answers; None: nothing was left to routing."""
        ...

    def better_than(self, model: str) -> Sequence[Choice]:
        """Who may answer where the answer of `model`, one of the chain, failed its check, in order."""
        ...


class Decider(Protocol):
    """Chooses the model."""

    def decide(self, task: Task, *, explain: bool, streamed: bool = False) -> Ranking:
        """The models that may answer `task`; `explain`: the decision lists every candidate.

        `streamed`: answers are sent on as they come, so that none is checked before.

        Raises:
            AsahiError: no model may, or the task cannot be understood.
        """
        ...


class Observations(Protocol):
    """Learns how fast models are."""

    def observed(self, model: str, first_token_ms: float | None, shown_tokens: int, duration_ms: float) -> None:
        """A call that answered with so many tokens, those of thought not counted.

        `first_token_ms`: None where the answer came in one piece.
        """
        ...

    def silent(self, model: str, waited_ms: float) -> None:
        """A call that was given up after so long, when nothing had come."""
        ...


class Examples(Protocol):
    """Keeps answered questions until somebody says how good the answers were."""

    def answered(self, example: Example) -> None:
        """Keeps one, soon."""
        ...

    def repeated(self, organization_id: str, request_id: str) -> None:
        """The user who was answered then asked the same once more."""
        ...


class Conversations(Protocol):
    """Remembers which model answered a conversation last."""

    def answered(self, organization_id: str, thread: bytes, model: str, asked_bytes: int, *, kept: bool = True) -> None:
        """`model` answered a question of so many bytes that begins like `thread`; `kept`: its provider keeps it."""
        ...


class Comparing(Protocol):
    """Compares an answer with a second one."""

    def run(
        self, start: CompleteStart, inbox: AsyncIterator[CompleteRequest]
    ) -> AsyncGenerator[CompleteResponse, None]:
        """The events of a comparison, as `CompleteStart.comparison` promises them; raises AsahiError."""
        ...


class Checks(Protocol):
    """Learns how often answers fail their checks."""

    def checked(self, organization_id: str, model: str, features: Features, *, failed: bool) -> None:
        """An answer of the model to a question with `features` was checked."""
        ...


class OrphanLedger(Protocol):
    """Settles provider calls whose caller vanished."""

    def settle(self, record: UsageRecord) -> None:
        """Takes the record; billing has it as soon as it can be reached."""
        ...
