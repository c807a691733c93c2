"""The failures that a provider can bring about, and what follows from each: rules, written down before any was seen.

A mode of the simulator has a look, plain and streamed. From the look follow the calls that are made, what the caller
is told, and what is billed. A case puts a mode into a place in a chain of three models.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

CHAINS = {
    "openai": ("gpt-6-luna", "gpt-6.1-terra", "gpt-6.1-sol"),
    "anthropic": ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"),
}
"""Cheapest first, which is the order of fallback."""
WAYS = ("infer", "chat", "explicit")
"""`/infer`; `/v1/chat/completions`, passed on as it is to OpenAI's models; `/infer` with the first model named."""
RETRIES = 1
PATIENCE_S = 30


@dataclass(frozen=True)
class Look:
    """How a failure mode looks from outside."""

    outcome: str = "answered"
    """The attempt's outcome: `answered`, or an error code of the contract."""
    retried: bool = False
    """Whether the same model may be asked again."""
    begun: bool = False
    """Whether the caller has bytes already: then nothing may follow."""
    billed: bool = False
    """Whether the provider bills a call that fails so, or is taken to."""
    finish: str = "stop"
    check: str = ""
    """The check that such an answer fails where the router makes it; empty: none."""

    @property
    def ends_all(self) -> bool:
        """Whether no other model is asked after it."""
        return self.begun or self.outcome == "answered"


ANSWERED = Look()
BUSY = Look("overloaded", retried=True)
TO_BE_LEFT_ALONE = Look("overloaded")
BROKEN = Look("provider_error", retried=True)
BROKEN_BILLED = Look("provider_error", retried=True, billed=True)
REFUSED = Look("invalid_request")
NO_KEY = Look("provider_error")
SILENT = Look("deadline_exceeded", billed=True)
GONE = Look("service_unavailable", retried=True)
CUT_OFF = Look("upstream_interrupted", retried=True, billed=True)
CUT_SHORT = Look("upstream_interrupted", begun=True, billed=True)
WITHHELD = Look(finish="content_filter", check="refused")


@dataclass(frozen=True)
class Mode:
    """A failure mode of the simulator and its looks."""

    name: str
    kind: str
    params: dict[str, Any]
    plain: Look
    streamed: Look
    chat_streamed: Look
    """The chunk that says the role is a piece that the caller of `/v1/chat/completions` has, of `/infer` has not."""


def mode(
    name: str, kind: str, plain: Look, streamed: Look | None = None, chat_streamed: Look | None = None, **params: Any
) -> Mode:
    """A mode that looks the same everywhere unless said otherwise."""
    streamed = streamed or plain
    return Mode(name, kind, params, plain, streamed, chat_streamed or streamed)


MODES = (
    mode("too many requests", "status", BUSY, status=429, retry_after_s=0),
    mode("too many requests for long", "status", TO_BE_LEFT_ALONE, status=429, retry_after_s=PATIENCE_S),
    mode("server error", "status", BROKEN, status=500),
    mode("unavailable", "status", BUSY, status=503),
    mode("overloaded", "status", BUSY, status=529),
    mode("bad request", "status", REFUSED, status=400),
    mode("wrong key", "status", NO_KEY, status=401),
    mode("never answers", "hang", SILENT),
    mode("closes at once", "drop", GONE),
    mode("cut", "cut", CUT_OFF, CUT_SHORT, after_tokens=5),
    mode("cut before a word", "cut", CUT_OFF, CUT_OFF, CUT_SHORT, after_tokens=0),
    mode("garbage", "malformed", BROKEN_BILLED, CUT_SHORT, after_tokens=5),
    mode("error in the midst", "stream_error", BROKEN, CUT_SHORT, after_tokens=5, status=500),
    mode(
        "error before a word",
        "stream_error",
        BROKEN,
        BROKEN_BILLED,
        Look("provider_error", begun=True, billed=True),
        after_tokens=0,
        status=500,
    ),
    mode("no choices", "empty", BROKEN_BILLED),
    mode("endless", "endless", SILENT, Look("deadline_exceeded", begun=True, billed=True)),
    mode("slow to begin", "slow", ANSWERED, first_token_ms=300),
    mode("counts double", "usage", ANSWERED, usage="factor", factor=2),
    mode("counts nothing", "usage", ANSWERED, usage="zero"),
    mode("does not count", "usage", ANSWERED, usage="missing"),
    mode("refusal", "refusal", WITHHELD),
    mode("filtered", "content_filter", WITHHELD, after_tokens=5),
    mode("truncated", "truncated", Look(finish="length", check="truncated"), after_tokens=5),
)
_TOLD = {
    "overloaded": "503:overloaded",
    "service_unavailable": "503:service_unavailable",
    "deadline_exceeded": "504:deadline_exceeded",
}


@dataclass(frozen=True)
class Case:
    """A mode in its place: `before` models fail with a server error, then `failing` models so; the others answer."""

    number: int
    mode: Mode
    before: int
    failing: int
    vendor: str
    way: str
    streamed: bool

    @property
    def chain(self) -> tuple[str, ...]:
        """The models that may be asked."""
        return CHAINS[self.vendor][: 1 if self.way == "explicit" else None]

    @property
    def stored(self) -> bool:
        """Whether the cache has an answer to the same question afterwards."""
        return self.error is None and (not self.is_given or self.look.finish == "stop")

    @property
    def is_given(self) -> bool:
        """Whether the caller gets what the mode made of an answer."""
        look = self.look
        return look.outcome == "answered" or (bool(look.check) and self.failing == len(self.chain))

    @property
    def look(self) -> Look:
        """How the mode looks here."""
        if not self.streamed:
            plain = self.mode.plain
            if plain.check and self.way != "explicit":  # a better model is asked
                return replace(plain, outcome=f"cascade: {plain.check}", billed=True)
            return plain
        if self.way == "chat" and self.mode.kind == "empty" and self.vendor == "anthropic":
            return Look("provider_error", begun=True, billed=True)  # `message_start` comes even so
        return self.mode.chat_streamed if self.way == "chat" else self.mode.streamed

    @property
    def rule_tag(self) -> str:
        """What the simulator's rules for this case find in its prompt."""
        return f"[{self.mode.name}, {self.before} and {self.failing}]"

    @property
    def prompt(self) -> str:
        """A question of its own, long enough for its tokens to be estimated."""
        return f"Say something short about rivers. {'They flow slowly through the garden. ' * 20}{self}"

    @property
    def rules(self) -> list[dict[str, Any]]:
        """What the simulator is told."""
        broken = {"mode": "status", "params": {"status": 500}}
        so = {"mode": self.mode.kind, "params": self.mode.params}
        modes = [broken] * self.before + [so] * self.failing
        return [
            {**one, "match": {"model": model, "contains": self.rule_tag}}
            for one, model in zip(modes, CHAINS[self.vendor], strict=False)
        ]

    @property
    def attempts(self) -> list[tuple[str, str]]:
        """Models asked, with the outcome of each call."""
        calls = []
        for place, model in enumerate(self.chain):
            look = BROKEN if place < self.before else self.look if place < self.before + self.failing else ANSWERED
            given = look.check and place + 1 == len(self.chain)  # nobody is left who could do better
            outcome = "answered" if given else look.outcome
            calls += [(model, outcome)] * (1 + RETRIES if look.retried and not look.begun else 1)
            if look.ends_all:
                break
        return calls

    @property
    def error(self) -> str | None:
        """`status:code`, or `stream:code` after the first byte; None: an answer."""
        look = self.look
        if look.begun:
            return f"stream:{'deadline_exceeded' if look.outcome == 'deadline_exceeded' else 'upstream_interrupted'}"
        if look.ends_all or look.check or self.failing < len(self.chain):
            return None
        if look is REFUSED and self.way == "explicit":
            return "400:invalid_request"  # the caller chose the model that will not take it
        return _TOLD.get(look.outcome, "502:provider_error")

    @property
    def finish(self) -> str:
        """Why the answer ended, as the caller is told."""
        if not self.is_given:
            return "stop"
        as_it_is = self.way == "chat" and self.vendor == "openai" and self.mode.kind == "refusal"
        return "stop" if as_it_is else self.look.finish

    def __str__(self) -> str:
        how = "streamed" if self.streamed else "plain"
        return f"{self.rule_tag} {self.vendor}, {self.way}, {how}"


def cases() -> list[Case]:
    """Every mode in every place of the chain, over either protocol, in every way, plain and streamed."""
    found: list[Case] = []
    for one, vendor, way, streamed in product(MODES, CHAINS, WAYS, (False, True)):
        ends_all = Case(0, one, 0, 1, vendor, way, streamed).look.ends_all
        places = ((0, 1), (1, 1), (2, 1)) if ends_all else ((0, 1), (0, 2), (0, 3))
        for before, failing in places[: 1 if way == "explicit" else None]:
            found.append(Case(len(found), one, before, failing, vendor, way, streamed))
    return found
