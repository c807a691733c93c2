"""The ASGI application: which path is served by what. Plain ASGI, since a mock must not be what a bench measures."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.types import Receive, Scope, Send

from asahi_simulator.api import anthropic, openai, responses
from asahi_simulator.api.anthropic_request import count_tokens
from asahi_simulator.api.control import Control
from asahi_simulator.api.conversation import Provider
from asahi_simulator.api.cost_reports import ANTHROPIC_PATH, OPENAI_PATH, CostReports
from asahi_simulator.api.dialect import Dialect, Failure, WrongBody
from asahi_simulator.api.embeddings import Embeddings
from asahi_simulator.api.exchange import CallerLeft, Exchange

_MODELS = "/v1/models"
Handler = Callable[[Exchange], Awaitable[None]]


class SimulatorApp:
    """Serves both providers' paths and the control paths; `listed` are the models that `/v1/models` names."""

    def __init__(self, provider: Provider, control: Control, reports: CostReports, listed: Sequence[str]) -> None:
        self._provider = provider
        self._listed = listed
        self._openai = openai.OpenAI()
        self._anthropic = anthropic.Anthropic()
        embeddings = Embeddings()
        self._responses = responses.Responses()
        self._handlers: dict[tuple[str, str], Handler] = {
            ("POST", "/v1/chat/completions"): lambda exchange: provider.complete(exchange, self._openai),
            ("POST", "/v1/embeddings"): lambda exchange: provider.complete(exchange, embeddings),
            ("POST", "/v1/responses"): lambda exchange: provider.complete(exchange, self._responses),
            ("POST", "/v1/messages"): lambda exchange: provider.complete(exchange, self._anthropic),
            ("POST", "/v1/messages/count_tokens"): self._count_tokens,
            ("GET", _MODELS): self._list_models,
            ("GET", OPENAI_PATH): reports.openai,
            ("GET", ANTHROPIC_PATH): reports.anthropic,
            ("GET", "/health"): _show_health,
            ("PUT", "/control"): control.replace_rules,
            ("GET", "/control"): control.show_rules,
            ("DELETE", "/control"): control.reset,
            ("GET", "/control/calls"): control.show_calls,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        exchange = Exchange(scope, receive, send)
        handler = self._handlers.get((scope["method"], exchange.path))
        if handler is None:
            handler = self._show_model if exchange.path.startswith(f"{_MODELS}/") else self._not_found
        try:
            await handler(exchange)
        except CallerLeft:
            return
        finally:
            exchange.close()

    async def _count_tokens(self, exchange: Exchange) -> None:
        try:
            await exchange.answer_json(200, {"input_tokens": count_tokens(await exchange.body())})
        except WrongBody as error:
            await exchange.answer(400, self._anthropic.error(error.failure, ""))

    async def _list_models(self, exchange: Exchange) -> None:
        of = anthropic if _is_anthropic(exchange) else openai
        await exchange.answer(200, of.models(self._listed))

    async def _show_model(self, exchange: Exchange) -> None:
        name = exchange.path.removeprefix(f"{_MODELS}/")
        if name not in self._listed:
            failure = Failure(404, f"The model '{name}' does not exist.", None, "model_not_found", "model")
            await exchange.answer(404, self._dialect(exchange).error(failure, ""))
            return
        of = anthropic if _is_anthropic(exchange) else openai
        await exchange.answer_json(200, of.model(name))

    async def _not_found(self, exchange: Exchange) -> None:
        failure = Failure(404, f"Unknown request URL: {exchange.path}. The simulator does not serve it.")
        await exchange.answer(404, self._dialect(exchange).error(failure, ""))

    def _dialect(self, exchange: Exchange) -> Dialect:
        return self._anthropic if _is_anthropic(exchange) else self._openai


def _is_anthropic(exchange: Exchange) -> bool:
    return b"anthropic-version" in exchange.headers


async def _show_health(exchange: Exchange) -> None:
    await exchange.answer_json(200, {"status": "healthy", "provider": "simulator"})
