"""`/control`: rules in, counts out. For tests and benches; no provider has it."""

from collections.abc import Sequence
from urllib.parse import parse_qsl

import msgspec

from asahi_simulator.api.exchange import Exchange
from asahi_simulator.domain.calls import Call, CallLog
from asahi_simulator.domain.prompt_cache import PromptCache
from asahi_simulator.domain.rules import Rule, Rules, RuleState

_LIMIT = 1000


class _Query(msgspec.Struct, forbid_unknown_fields=True):
    after: int = 0
    request_id: str | None = None
    limit: int = _LIMIT


class _CallsPage(msgspec.Struct):
    totals: dict[str, int]
    calls: Sequence[Call]


class _RulesPage(msgspec.Struct):
    rules: Sequence[RuleState]


class Control:
    """The control paths."""

    def __init__(self, rules: Rules, calls: CallLog, prompt_cache: PromptCache) -> None:
        self._rules = rules
        self._calls = calls
        self._prompt_cache = prompt_cache
        self._decoder = msgspec.json.Decoder(list[Rule])

    async def replace_rules(self, exchange: Exchange) -> None:
        """`PUT /control`: a JSON list of rules in the place of all before."""
        try:
            rules = self._decoder.decode(await exchange.body())
        except msgspec.DecodeError as error:
            await exchange.answer_json(400, {"error": {"message": f"Not a list of rules: {error}."}})
            return
        self._rules.replace(rules)
        await self.show_rules(exchange)

    async def show_rules(self, exchange: Exchange) -> None:
        """`GET /control`: the rules, and how many calls each matched and struck."""
        await exchange.answer_json(200, _RulesPage(self._rules.states()))

    async def reset(self, exchange: Exchange) -> None:
        """`DELETE /control`: no rules, no calls, no cached prefixes."""
        self._rules.replace([])
        self._calls.clear()
        self._prompt_cache.clear()
        await self.show_rules(exchange)

    async def show_calls(self, exchange: Exchange) -> None:
        """`GET /control/calls?after=&request_id=&limit=`: totals over all calls, and calls one by one."""
        try:
            query = msgspec.convert(dict(parse_qsl(exchange.query.decode("latin-1"))), _Query, strict=False)
        except msgspec.ValidationError as error:
            await exchange.answer_json(400, {"error": {"message": f"Wrong query: {error}."}})
            return
        found = self._calls.newest(after=query.after, request_id=query.request_id, limit=query.limit)
        await exchange.answer_json(200, _CallsPage(self._calls.totals(), found))
