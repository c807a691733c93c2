"""A place that SDKs are pointed at, and the SDKs as tests use them: no tries of their own, no certificates to load."""

from typing import Any, NamedTuple

from anthropic import Anthropic, AsyncAnthropic
from anthropic import DefaultAsyncHttpxClient as AnthropicsAsyncHttp
from anthropic import DefaultHttpxClient as AnthropicsHttp
from openai import AsyncOpenAI, OpenAI
from openai import DefaultAsyncHttpxClient as OpenAIsAsyncHttp
from openai import DefaultHttpxClient as OpenAIsHttp


class Place(NamedTuple):
    """A base URL without `/v1`, and a key."""

    url: str
    key: str

    def anthropic(self, sent: list[Any] | None = None, **settings: Any) -> Anthropic:
        """Anthropic's SDK; `sent`: takes each request that it sends."""
        hooks = {"request": [sent.append]} if sent is not None else {}
        client = AnthropicsHttp(verify=False, event_hooks=hooks)
        return Anthropic(base_url=self.url, api_key=self.key, http_client=client, **_patient(settings))

    def async_anthropic(self, **settings: Any) -> AsyncAnthropic:
        """The same, asynchronous."""
        client = AnthropicsAsyncHttp(verify=False)
        return AsyncAnthropic(base_url=self.url, api_key=self.key, http_client=client, **_patient(settings))

    def openai(self, **settings: Any) -> OpenAI:
        """OpenAI's SDK."""
        client = OpenAIsHttp(verify=False)
        return OpenAI(base_url=f"{self.url}/v1", api_key=self.key, http_client=client, **_patient(settings))

    def async_openai(self, **settings: Any) -> AsyncOpenAI:
        """The same, asynchronous."""
        client = OpenAIsAsyncHttp(verify=False)
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.key, http_client=client, **_patient(settings))


def _patient(settings: dict[str, Any]) -> dict[str, Any]:
    return {"max_retries": 0, "timeout": 120.0, **settings}
