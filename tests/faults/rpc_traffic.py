"""Callers over gRPC, each noting what it saw in the words of those over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import grpc

from asahi.inference.v1 import inference_pb2 as pb
from asahi.inference.v1.inference_pb2_grpc import InferenceServiceStub
from asahi.type.v1.chat_pb2 import ChatRequest, ContentPart, FinishReason, Message, Role
from asahi_core.rpc.status import error_from_rpc
from tests.faults.books import Answer, ClientsBook
from tests.faults.schedule import EDGES
from tests.faults.traffic import COMMON, PATIENCE_S, PAUSE_S
from tests.installation import Organization

_NO_RETRIES = [("grpc.enable_retries", 0)]


@dataclass(frozen=True, slots=True)
class RpcClient:
    """One caller's channels to both edges, and the book it writes."""

    organization: Organization
    book: ClientsBook
    random: Random
    stubs: dict[str, InferenceServiceStub]

    async def ask(self, edge: str, question: str) -> str:
        """Asks in one of four ways, notes an answer; returns what came of it, as `traffic.Client.ask` does."""
        said: list[str] = []
        try:
            outcome = await self._asked(self.stubs[edge], question, said)
        except grpc.aio.AioRpcError as error:
            return _came_of(error, begun=bool(said))
        if not outcome.request_id:
            return "broken"
        finish = "stop" if outcome.finish_reason == FinishReason.FINISH_REASON_STOP else "other"
        degraded, dollars = ",".join(outcome.degraded), outcome.cost_nanos / 1e9
        text = "".join(said)
        self.book.answers.append(Answer(self.organization.id, outcome.request_id, text, dollars, finish, degraded))
        return "200"

    async def _asked(self, stub: InferenceServiceStub, question: str, said: list[str]) -> pb.Outcome:
        """How it ended; `said` grows by what comes."""
        metadata, infer = self._metadata, pb.InferRequest(prompt=question)
        chat, outcome = _chat(question), pb.Outcome()
        match self.random.randrange(4):
            case 0:
                plain = await stub.Infer(infer, timeout=PATIENCE_S, metadata=metadata)
                said.append(plain.response)
                return plain.outcome
            case 1:
                told = await stub.Chat(chat, timeout=PATIENCE_S, metadata=metadata)
                said.append("".join(part.text for part in told.answer.parts))
                return told.outcome
            case 2:
                request = pb.StreamInferRequest(request=infer)
                async for event in stub.StreamInfer(request, timeout=PATIENCE_S, metadata=metadata):
                    said.append(event.delta)
                    outcome = event.done
            case _:
                asked = pb.StreamChatRequest(request=chat)
                async for piece in stub.StreamChat(asked, timeout=PATIENCE_S, metadata=metadata):
                    said.append(piece.delta)
                    outcome = piece.done.outcome
        return outcome

    @property
    def _metadata(self) -> list[tuple[str, str | bytes]]:
        return [("authorization", f"Bearer {self.organization.key}")]


@asynccontextmanager
async def rpc_client_of(organization: Organization, book: ClientsBook, random: Random) -> AsyncIterator[RpcClient]:
    """A caller that knows both edges."""
    installation = organization.installation
    one, other = (grpc.aio.insecure_channel(f"127.0.0.1:{installation[e].grpc_port}", _NO_RETRIES) for e in EDGES)
    async with one, other:
        stubs = {EDGES[0]: InferenceServiceStub(one), EDGES[1]: InferenceServiceStub(other)}
        yield RpcClient(organization, book, random, stubs)


async def calls(client: RpcClient, stop: asyncio.Event) -> None:
    """Plain and streamed, questions and conversations, some of which callers over HTTP ask as well."""
    while not stop.is_set():
        question = f"Question {client.random.getrandbits(48):x} over gRPC"
        if client.random.random() < 0.3:
            question = f"Common question {client.random.randrange(COMMON)}"
        came = await client.ask(client.random.choice(EDGES), question)
        client.book.seen[came] += 1
        await asyncio.sleep(client.random.uniform(0, PAUSE_S) if came == "200" else 4 * PAUSE_S)


def _chat(question: str) -> pb.ChatRequest:
    part = ContentPart(text=question)
    return pb.ChatRequest(chat=ChatRequest(messages=[Message(role=Role.ROLE_USER, parts=[part])]))


def _came_of(error: grpc.aio.AioRpcError, *, begun: bool) -> str:
    """The same words as over HTTP; what the transport itself says is a connection that was refused or broke."""
    details = error.details() or ""
    ours = any(name == "grpc-status-details-bin" for name, _ in error.trailing_metadata() or ())
    if not ours:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"nothing for {PATIENCE_S:g} s"
        return "refused" if not begun and "connect" in details.lower() else "broken"
    known = error_from_rpc(error, "edge")
    if begun:
        return f"stream:{known.code}"
    hurry = " without retry-after" if known.http_status == 503 and known.retry_after_s is None else ""
    return f"{known.http_status}:{known.code}{hurry}"
