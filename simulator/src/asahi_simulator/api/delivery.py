"""Hands an answer over, plain or token by token, each at its time and billed when it is generated."""

import asyncio

from asahi_simulator.api.dialect import THOUGHT, Dialect, Failure, Reply
from asahi_simulator.api.exchange import CallerLeft, Exchange
from asahi_simulator.domain.calls import Call
from asahi_simulator.domain.latency import Pace
from asahi_simulator.domain.rules import Rule

_BREAKING = frozenset({"cut", "malformed", "stream_error"})


async def refuse(
    exchange: Exchange, dialect: Dialect, call: Call, failure: Failure, retry_after_s: float | None = None
) -> None:
    """Answers with an error; nothing is billed."""
    headers = dialect.headers(call.provider_request_id)
    if retry_after_s is not None:
        headers.append((b"retry-after", f"{retry_after_s:g}".encode()))
    call.status = failure.status
    call.outcome = "error"
    await exchange.answer(failure.status, dialect.error(failure, call.provider_request_id), headers)


def failure_of(rule: Rule) -> Failure:
    """The error that `rule` asks for."""
    return Failure(rule.params.status, rule.params.message, rule.params.type, rule.params.code)


class Delivery:
    """One answer on its way to the caller."""

    def __init__(
        self, exchange: Exchange, dialect: Dialect, call: Call, *, reply: Reply, rule: Rule, pace: Pace
    ) -> None:
        self._exchange = exchange
        self._dialect = dialect
        self._call = call
        self._reply = reply
        self._rule = rule
        self._pace = pace

    async def plain(self) -> None:
        """Sends the whole answer when its last token is due; raises CallerLeft, billed until then."""
        exchange, call, mode = self._exchange, self._call, self._rule.mode
        tokens = sum(answer.tokens for answer in self._reply.answers)
        if mode == "endless":
            await self._generate_unseen(None)
        elif self._pace.waits:
            await self._generate_unseen(tokens)
        self._bill(tokens)
        call.status = 200
        body = self._dialect.plain(self._reply)
        headers = self._dialect.headers(call.provider_request_id)
        if mode == "cut":
            call.outcome = "cut"
            await exchange.answer_half(body, headers)
            return
        call.outcome = "answered"
        if mode == "malformed":
            body = body[: len(body) // 2]
        else:
            call.reported = self._reply.usage
        await exchange.answer(200, body, headers)

    async def stream(self) -> None:
        """Sends the stream as far as the rule lets it come; raises CallerLeft, billed until then."""
        exchange, call, pace = self._exchange, self._call, self._pace
        breaks_after = self._rule.params.after_tokens if self._rule.mode in _BREAKING else None
        loop = asyncio.get_running_loop()
        started = loop.time()
        exchange.watch()
        await exchange.wait(pace.first_token_s)
        call.status = 200
        await exchange.begin_stream(self._dialect.headers(call.provider_request_id))
        for token, event in self._dialect.stream(self._reply):
            if token:
                if call.completion_tokens == breaks_after:
                    break
                await exchange.wait(started + pace.due_s(call.completion_tokens + 1) - loop.time())
                call.completion_tokens += 1
                if not event or token == THOUGHT:
                    call.reasoning_tokens += 1
            if event:
                await exchange.send_event(event)
        if breaks_after is not None:
            await self._break_stream()
            return
        call.outcome = "answered"
        call.reported = self._reply.usage if self._reply.request.include_usage else None
        await exchange.end_stream()

    async def _break_stream(self) -> None:
        exchange, call = self._exchange, self._call
        if self._rule.mode == "cut":
            call.outcome = "cut"
            await exchange.break_off()
            return
        if self._rule.mode == "malformed":
            call.outcome = "answered"
            event = self._dialect.garbage(self._reply)
        else:
            call.outcome = "error"
            event = self._dialect.stream_error(failure_of(self._rule), call.provider_request_id)
        await exchange.send_event(event)
        await exchange.end_stream()

    async def _generate_unseen(self, tokens: int | None) -> None:
        """Lets the time of `tokens` tokens pass (None: they never end)."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._exchange.watch()
        try:
            if tokens is None:
                await self._exchange.until_left()
                raise CallerLeft
            await self._exchange.wait(self._pace.due_s(max(1, tokens)))
        except CallerLeft:
            self._bill(self._pace.generated(loop.time() - started, tokens))
            raise

    def _bill(self, tokens: int) -> None:
        """Bills the first `tokens` tokens of the answers: one answer after the other, reasoning first."""
        self._call.completion_tokens = tokens
        for answer in self._reply.answers:
            self._call.reasoning_tokens += min(tokens, answer.reasoning_tokens)
            tokens -= min(tokens, answer.tokens)
