"""One completion from body to answer, in either dialect: understand, fail if a rule says so, write, bill, deliver."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from asahi_core.clock import Clock
from asahi_core.globs import matches_any
from asahi_core.ids import Ids
from asahi_simulator.api.delivery import Delivery, failure_of, refuse
from asahi_simulator.api.dialect import Dialect, Failure, Reply, WrongBody
from asahi_simulator.api.exchange import CallerLeft, Exchange
from asahi_simulator.domain.author import Author
from asahi_simulator.domain.calls import Call, CallLog
from asahi_simulator.domain.completion import CompletionRequest, Usage
from asahi_simulator.domain.latency import Pace, pace_of
from asahi_simulator.domain.prompt_cache import PromptCache
from asahi_simulator.domain.rules import Rule, Rules

_ORDINARY = Rule(mode="answer")
_ENDLESS_TOKEN_S = 0.005


@dataclass(frozen=True, slots=True)
class Provider:
    """Holds the conversations. `models` are the globs of names that are known; none: all are."""

    author: Author
    rules: Rules
    calls: CallLog
    prompt_cache: PromptCache
    clock: Clock
    ids: Ids
    speed: float
    models: Sequence[str]

    async def complete(self, exchange: Exchange, dialect: Dialect) -> None:
        """Answers one completion; raises CallerLeft while the body is read."""
        body = await exchange.body()
        call = self._open(exchange, dialect)
        try:
            request = dialect.read(body)
        except WrongBody as error:
            await refuse(exchange, dialect, call, error.failure)
            return
        call.model, call.stream = request.model, request.stream
        if self.models and not matches_any(request.model, self.models):
            message = f"The model '{request.model}' does not exist or you do not have access to it."
            await refuse(exchange, dialect, call, Failure(404, message, None, "model_not_found", "model"))
            return
        rule = self.rules.strike(
            dialect.api, request.model, stream=request.stream, attempt=call.attempt, told=request.prompt.told
        )
        call.mode = rule.mode if rule is not None else None
        try:
            await self._converse(exchange, dialect, call, request, rule or _ORDINARY)
        except CallerLeft:
            call.outcome = "client_left"

    def _open(self, exchange: Exchange, dialect: Dialect) -> Call:
        call = Call(
            number=self.calls.next_number(),
            api=dialect.api,
            path=exchange.path,
            request_id=exchange.header(b"x-asahi-request-id"),
            attempt=exchange.header(b"x-asahi-attempt"),
            idempotency_key=exchange.header(b"idempotency-key"),
            provider_request_id="req_" + self.ids.request_id().replace("-", ""),
            started_at=self.clock.now().timestamp(),
            key=_key_id(exchange.header(b"authorization") or exchange.header(b"x-api-key")),
        )
        self.calls.add(call)
        return call

    async def _converse(
        self, exchange: Exchange, dialect: Dialect, call: Call, request: CompletionRequest, rule: Rule
    ) -> None:
        match rule.mode:
            case "hang":
                await exchange.until_left()
                raise CallerLeft
            case "drop":
                call.outcome = "cut"
                await exchange.break_off()
            case "status":
                await refuse(exchange, dialect, call, failure_of(rule), rule.params.retry_after_s)
            case "stream_error" if not request.stream:
                await refuse(exchange, dialect, call, failure_of(rule), rule.params.retry_after_s)
            case _:
                reply = self._write(dialect, call, request, rule)
                delivery = Delivery(exchange, dialect, call, reply=reply, rule=rule, pace=self._pace(request, rule))
                await (delivery.stream() if request.stream else delivery.plain())

    def _write(self, dialect: Dialect, call: Call, request: CompletionRequest, rule: Rule) -> Reply:
        answers = () if request.to_embed is not None else self.author.write(request, rule.mode, rule.params)
        cache = dialect.cache_use(self.prompt_cache, request)
        usage = Usage(
            prompt_tokens=len(request.prompt.pieces),
            cached_tokens=cache.read,
            cache_write_5m_tokens=cache.written_5m,
            cache_write_1h_tokens=cache.written_1h,
            completion_tokens=sum(answer.tokens for answer in answers),
            reasoning_tokens=sum(answer.reasoning_tokens for answer in answers),
        )
        call.bill_prompt(usage)
        if answers and answers[0].ending == "stop" and rule.mode != "endless":
            call.text_sha256 = hashlib.sha256(answers[0].text.encode()).hexdigest()
        reply_id = call.provider_request_id.removeprefix("req_")
        told = replace(request, model=rule.params.model) if rule.params.model else request
        return Reply(reply_id, int(self.clock.now().timestamp()), told, answers, _reported(usage, rule))

    def _pace(self, request: CompletionRequest, rule: Rule) -> Pace:
        pace = pace_of(request.model, self.speed)
        if rule.params.first_token_ms is not None:
            pace = replace(pace, first_token_s=rule.params.first_token_ms / 1000)
        if rule.params.tokens_per_second is not None:
            pace = replace(pace, token_s=1 / rule.params.tokens_per_second)
        if rule.mode == "endless" and pace.token_s == 0:
            pace = replace(pace, token_s=_ENDLESS_TOKEN_S)
        return pace


def _key_id(key: str) -> str:
    """A name for the caller's key that does not tell it."""
    return f"key_{hashlib.sha256(key.removeprefix('Bearer ').encode()).hexdigest()[:12]}" if key else ""


def _reported(usage: Usage, rule: Rule) -> Usage | None:
    if rule.mode != "usage":
        return usage
    match rule.params.usage:
        case "missing":
            return None
        case "zero":
            return Usage()
        case "factor":
            return usage.times(rule.params.factor)
