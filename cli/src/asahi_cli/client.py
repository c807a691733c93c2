"""A client of the HTTP API for the command's own use: answers as exact JSON, failures as one line."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import urlsplit

import httpx2

from asahi_cli.errors import FAILED, FORBIDDEN, UNREACHABLE, CommandError
from asahi_cli.terminal import plain


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered."""

    status: int
    text: str
    body: Any
    """Numbers with a fraction are `Decimal`s: dollars stay exact."""
    headers: Mapping[str, str]


class Refused(CommandError):
    """The server answered with an error."""

    def __init__(self, answer: Answer, message: str, code: str) -> None:
        request_id = answer.headers.get("x-asahi-request-id", "")
        about = ", ".join(filter(None, (str(answer.status), code, request_id and f"request {request_id}")))
        super().__init__(f"{message} ({about})", FORBIDDEN if answer.status in (401, 403) else FAILED)
        self.status = answer.status
        self.code = code


class AsahiClient:
    """Calls one Asahi with one key. A context manager."""

    def __init__(self, url: str, api_key: str = "", *, timeout_s: float = 30.0) -> None:
        self._url = url
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        # A proxy of the environment is the way to the internet, not to this machine.
        far = urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1")
        verify: bool | Any = url.startswith("https://")
        self._http = httpx2.Client(base_url=url, headers=headers, timeout=timeout_s, trust_env=far, verify=verify)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int | None) -> Answer:
        """The answer of `GET path`.

        Raises:
            Refused: the server answered with an error.
            CommandError: it did not answer.
        """
        return self.checked(self.send("GET", path, query={n: v for n, v in query.items() if v is not None}))

    def post(self, path: str, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Answer:
        """The answer of `POST path`; raises as `get`."""
        return self.checked(self.send("POST", path, body=body, headers=headers))

    def upload(self, path: str, file: BinaryIO, media: str, **query: str | None) -> Answer:
        """The answer of `POST path` with a file as it is, read while it is sent; raises as `get`."""
        asked = {name: value for name, value in query.items() if value}
        return self.checked(self.send("POST", path, query=asked, content=file, headers={"content-type": media}))

    def delete(self, path: str) -> Answer:
        """The answer of `DELETE path`; raises as `get`."""
        return self.checked(self.send("DELETE", path))

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, object] | None = None,
        content: BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer, whatever its status.

        Raises:
            CommandError: there was none.
        """
        try:
            got = self._http.request(method, path, params=query, json=body, content=content, headers=headers)
        except httpx2.TimeoutException as error:
            raise CommandError(f"{self._url} does not answer in time; see `asahi doctor`", UNREACHABLE) from error
        except httpx2.ConnectError as error:
            raise CommandError(
                f"nothing answers at {self._url} ({error}): start Asahi with `asahi up`, or set ASAHI_URL", UNREACHABLE
            ) from error
        except httpx2.RequestError as error:
            raise CommandError(
                f"the connection to {self._url} broke ({error}); see `asahi doctor`", UNREACHABLE
            ) from error
        return Answer(got.status_code, got.text, _parsed(got.text), got.headers)

    def checked(self, answer: Answer) -> Answer:
        """`answer`, if it is none of an error, and JSON.

        Raises:
            Refused: it is one.
        """
        if answer.status < 400 and answer.body is not None:
            return answer
        error = answer.body.get("error") if isinstance(answer.body, dict) else None
        if not isinstance(error, dict):
            raise Refused(answer, f"{self._url} does not answer as Asahi does: is ASAHI_URL right?", "")
        raise Refused(answer, plain(str(error.get("message", ""))), str(error.get("code", "")))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError:
        return None
