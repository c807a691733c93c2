"""One provider call, run in a task of its own so that it outlives a caller who vanishes."""

import asyncio
from contextlib import aclosing

from structlog.typing import FilteringBoundLogger

from asahi.type.v1.chat_pb2 import Answer
from asahi_core.clock import Clock
from asahi_core.errors import AsahiError, InternalError
from asahi_router.domain.mailbox import Mailbox, Signal
from asahi_router.domain.provider import Provider, ProviderCall, ProviderFailure, Received

_LAST_LOOKS = 3
"""Turns of the loop in which bytes that wait at the socket become pieces."""


class CallUnderWay:
    """A provider call from its start to its end. Its pieces go to the mailbox; its end is `answer` or `failure`."""

    def __init__(
        self, provider: Provider, call: ProviderCall, mailbox: Mailbox, clock: Clock, log: FilteringBoundLogger
    ) -> None:
        """Begins the call."""
        self.call = call
        self.answer: Answer | None = None
        self.failure: ProviderFailure | AsahiError | None = None
        self.received = Received(sent_after_ms=None)
        """What came; complete once the call has ended."""
        self.first_piece_ms: float | None = None
        """When the first piece with content came."""
        self.duration_ms = 0.0
        self._provider = provider
        self._mailbox = mailbox
        self._clock = clock
        self._log = log
        self._started = clock.monotonic()
        self._task = asyncio.create_task(self._run())

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come."""
        return self._task.done()

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since it began."""
        return (self._clock.monotonic() - self._started) * 1000

    @property
    def silent_ms(self) -> float:
        """Milliseconds from its question until its first piece, or until its end, or now, where none came."""
        until = self.first_piece_ms or (self.duration_ms if self.ended else self.elapsed_ms)
        return max(0.0, until - (self.received_so_far().sent_after_ms or 0.0))

    def received_so_far(self) -> Received:
        """What has come until now."""
        return self.received if self.ended else self._provider.received(self.call)

    async def wait(self, timeout_s: float) -> None:
        """Returns when it has ended, at the latest after `timeout_s`."""
        await asyncio.wait({self._task}, timeout=timeout_s)

    async def stop(self) -> None:
        """Ends it at once, but for what has arrived already: that is billed, and so must be counted."""
        for _ in range(_LAST_LOOKS):
            await asyncio.sleep(0)
        if not self._task.done():
            self.received = self._provider.received(self.call)
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        events = self._provider.call(self.call)
        mailbox = self._mailbox
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Answer):
                        self.answer = event
                        self.received = self._provider.received(self.call)
                        break
                    if self.first_piece_ms is None and self._provider.received(self.call).pieces:
                        self.first_piece_ms = self.elapsed_ms
                    mailbox.put(event)
                    if mailbox.full:
                        await mailbox.room()
            if self.answer is None:
                raise InternalError("The provider's client ended without an answer.")
        except ProviderFailure as failure:
            self.failure = failure
            self.received = failure.received or Received()
        except AsahiError as error:
            self.failure = error
        except Exception as error:  # noqa: BLE001 - a fault of the client must not leave the completion waiting
            self._log.error("provider_client_failed", provider=self._provider.id, exc_info=error)
            self.failure = InternalError("Something failed inside Asahi; the request id finds it in the log.")
        finally:
            self.duration_ms = self.elapsed_ms
            mailbox.put(Signal.CALL_ENDED)
