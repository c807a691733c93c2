"""Cascade: the answer of a cheaper model is given only once it passed its checks, else a better model is asked.

Only where the caller left the choice to Asahi and gets the answer whole: of a stream it would have had the beginning.
"""

from collections.abc import Sequence

from asahi.router.v1.router_pb2 import AttemptOutcome, Completed, CompleteStart
from asahi.type.v1.chat_pb2 import Answer, FinishReason
from asahi_core.errors import AsahiError
from asahi_router.domain.checks import failed_check
from asahi_router.domain.completion_ports import Choice, Ranking
from asahi_router.domain.escalation import is_checked

_TELLING = (FinishReason.FINISH_REASON_LENGTH, FinishReason.FINISH_REASON_CONTENT_FILTER)


class Cascade:
    """The answers of one completion that failed their checks. All but the last are losses."""

    def __init__(self, start: CompleteStart, ranking: Ranking) -> None:
        self._prompt = start.task.prompt
        self._features = ranking.features
        self.checks = is_checked(start.task, streamed=start.stream)
        """Whether answers are checked before they are given."""
        self._better_than = ranking.better_than
        self.failed: list[tuple[AttemptOutcome, str]] = []
        """Calls whose answers were held back, each with its check."""
        self.held: Completed | None = None
        """The answer that is given if no better one comes; None: there is none."""

    def check(self, choice: Choice, answer: Answer) -> str:
        """The check that the answer of `choice` failed; empty: none, or none is made."""
        if not self.checks or self._features is None:
            return ""
        limited = self._features.max_output_tokens is not None or choice.added_max_output_tokens > 0
        return failed_check(self._prompt, answer, limited=limited)

    def signal(self, choice: Choice, answer: Answer) -> str:
        """The check that an answer would have failed that is given unchecked; empty: none.

        Where nothing but text is asked for, only how the answer ended is looked at: no body is read again for this.
        """
        features = self._features
        if self.checks or features is None:
            return ""
        limited = features.max_output_tokens is not None or choice.added_max_output_tokens > 0
        if features.has_schema or features.has_tools or answer.finish_reason in _TELLING:
            return failed_check(self._prompt, answer, limited=limited)
        return ""

    def better(self, choice: Choice, path: Sequence[Choice]) -> Sequence[Choice]:
        """Who may answer in the place of `choice`, in order; `path`: who was to be asked after it."""
        return path if self.held is not None else self._better_than(choice.model)

    def hold(self, answer: Answer, outcome: AttemptOutcome, check: str) -> AttemptOutcome:
        """Keeps an answer back that failed `check`; what is told of its call."""
        self.failed.append((outcome, check))
        self.held = Completed(
            answer=answer,
            outcome=outcome,
            failed_check=check,
            note=f"{self._failures} and is given as it is: no better model answered.",
        )
        told = AttemptOutcome()
        told.CopyFrom(outcome)
        told.outcome = f"cascade: {check}"
        return told

    def held_against(self, error: AsahiError) -> Completed:
        """The answer that is given though `error` ended everything else; raises it where there is none."""
        if self.held is None:
            raise error
        return self.held

    def completed(self, answer: Answer, outcome: AttemptOutcome, check: str, *, any_better: bool) -> Completed:
        """An answer that is given at once; `check`: which it failed; `any_better`: a better model might do better."""
        note = f"{self._failures}, so {outcome.model} was asked." if self.failed else ""
        if check:
            why = (
                "too little time or money is left to ask a better model" if any_better else "no better model may answer"
            )
            note = f"{note} Its answer failed a check ({check}) and is given as it is: {why}.".lstrip()
        return Completed(answer=answer, outcome=outcome, failed_check=check, note=note)

    @property
    def _failures(self) -> str:
        return ", ".join(f"{failed.model}'s answer failed a check ({check})" for failed, check in self.failed)
