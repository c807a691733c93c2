"""Rules that make the provider misbehave: which calls they strike, how often, and in what way."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

Api = Literal["openai", "anthropic"]
Mode = Literal[
    "answer",
    "slow",
    "status",
    "drop",
    "hang",
    "cut",
    "malformed",
    "stream_error",
    "usage",
    "empty",
    "endless",
    "refusal",
    "content_filter",
    "truncated",
    "tool_calls",
]


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which calls: all that is given must fit. `model` and `attempt` are globs; `contains` is in the last user text."""

    model: str = "*"
    api: Api | None = None
    stream: bool | None = None
    attempt: str | None = None
    contains: str = ""


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How. Times are real ones, not multiplied by the process's speed.

    `arguments` are what tools are called with, by name: no other tool is called. `model` is what the answer says it is
    of, whoever was asked.
    """

    status: int = 500
    retry_after_s: float | None = None
    message: str | None = None
    type: str | None = None
    code: str | None = None
    after_tokens: int = 5
    first_token_ms: float | None = None
    tokens_per_second: float | None = None
    answer_tokens: int | None = None
    text: str | None = None
    model: str | None = None
    arguments: dict[str, dict[str, Any]] | None = None
    usage: Literal["factor", "zero", "missing"] = "factor"
    factor: float = 2.0

    def __post_init__(self) -> None:
        """Refuses figures that cannot be acted upon."""
        if not 400 <= self.status <= 599:
            raise ValueError("status must be 400 to 599")
        if self.tokens_per_second is not None and self.tokens_per_second <= 0:
            raise ValueError("tokens_per_second must be over 0")
        if min(self.after_tokens, self.first_token_ms or 0, self.answer_tokens or 0, self.factor) < 0:
            raise ValueError("after_tokens, first_token_ms, answer_tokens and factor must not be under 0")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Strikes calls that match in `mode`: after `skip` of them, at most `times`, each with `probability`."""

    mode: Mode
    match: Match = Match()
    times: int | None = None
    skip: int = 0
    probability: float = 1.0
    params: Params = Params()

    def __post_init__(self) -> None:
        """Refuses a rule that would do nothing."""
        if not 0 <= self.probability <= 1:
            raise ValueError("probability must be 0 to 1")
        if self.mode == "slow" and self.params.first_token_ms is None and self.params.tokens_per_second is None:
            raise ValueError("mode slow needs params.first_token_ms or params.tokens_per_second")


class RuleState(msgspec.Struct, frozen=True):
    """A rule, how many calls it matched and how many it struck."""

    rule: Rule
    matched: int
    struck: int


class Rules:
    """The rules in force, in order; the first that strikes a call decides it."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._rules: list[Rule] = []
        self._matched: list[int] = []
        self._struck: list[int] = []

    def replace(self, rules: Sequence[Rule]) -> None:
        """Puts `rules` in the place of all before them, with fresh counts."""
        self._rules = list(rules)
        self._matched = [0] * len(rules)
        self._struck = [0] * len(rules)

    def states(self) -> list[RuleState]:
        """The rules with their counts."""
        return [RuleState(*state) for state in zip(self._rules, self._matched, self._struck, strict=True)]

    def strike(self, api: Api, model: str, *, stream: bool, attempt: str, told: str) -> Rule | None:
        """The rule that decides this call, counted; None: it is answered as usual."""
        for number, rule in enumerate(self._rules):
            match = rule.match
            if not (
                (match.api is None or match.api == api)
                and (match.stream is None or match.stream == stream)
                and (match.attempt is None or fnmatchcase(attempt, match.attempt))
                and match.contains in told
                and fnmatchcase(model, match.model)
            ):
                continue
            self._matched[number] += 1
            if self._matched[number] <= rule.skip:
                continue
            if rule.times is not None and self._struck[number] >= rule.times:
                continue
            if rule.probability < 1 and self._random() >= rule.probability:
                continue
            self._struck[number] += 1
            return rule
        return None
