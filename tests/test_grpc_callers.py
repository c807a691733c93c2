"""Internal callers: the same answers over gRPC, through the same pipeline."""

import asyncio
from base64 import b64decode
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from asahi.inference.v1 import inference_pb2 as pb
from asahi.inference.v1.inference_pb2_grpc import InferenceServiceStub
from asahi.type.v1.chat_pb2 import ChatRequest, ContentPart, Message, Role
from asahi.type.v1.routing_pb2 import Routing, RoutingMode
from tests.installation import Organization
from tests.simulator import SimulatorControl


def metadata(organization: Organization) -> list[tuple[str, str]]:
    """What authenticates a call."""
    return [("authorization", f"Bearer {organization.key}")]


async def test_grpc_and_http_share_answers_and_cache_plain_and_streamed(organization: Organization) -> None:
    async with grpc.aio.insecure_channel(organization.installation.grpc_target) as channel:
        stub = InferenceServiceStub(channel)
        request = pb.InferRequest(prompt="Why is the sky blue?", temperature=0.5, stop=["###"])
        miss = await stub.Infer(request, metadata=metadata(organization))
        hit = await stub.Infer(request, metadata=metadata(organization))
        streamed = [
            event
            async for event in stub.StreamInfer(pb.StreamInferRequest(request=request), metadata=metadata(organization))
        ]
    async with organization.async_client() as client:
        body = {"prompt": "Why is the sky blue?", "temperature": 0.5, "stop": "###"}
        over_http = (await client.post("/infer", json=body)).json()
    assert miss.outcome.cost_nanos > 0
    assert miss.outcome.cache_tier == 0
    assert hit.response == miss.response == over_http["response"]
    assert hit.outcome.cache_tier == over_http["cache_tier"] == 1
    assert hit.outcome.cost_nanos == 0
    assert [event.WhichOneof("event") for event in streamed] == ["decision", "delta", "done"]
    assert "".join(event.delta for event in streamed) == miss.response
    assert streamed[-1].done.cache_tier == 1


async def test_a_workflow_over_grpc_shares_its_steps_with_http(organization: Organization) -> None:
    steps = [
        pb.WorkflowStep(id="s1", prompt="Summarise {{document}}", type="summarize"),
        pb.WorkflowStep(id="s2", prompt="{{s1}}: {{prompt}}", depends_on=["s1"], quality_threshold=3.5),
    ]
    request = pb.InferRequest(prompt="Who?", document="A text.", document_id="contract", steps=steps)
    body = {
        "prompt": "Who?",
        "document": "A text.",
        "document_id": "contract",
        "steps": [
            {"id": "s1", "prompt": "Summarise {{document}}", "type": "summarize"},
            {"id": "s2", "prompt": "{{s1}}: {{prompt}}", "depends_on": ["s1"], "quality_threshold": 3.5},
        ],
    }
    async with grpc.aio.insecure_channel(organization.installation.grpc_target) as channel:
        stub = InferenceServiceStub(channel)
        miss = await stub.Infer(request, metadata=metadata(organization))
        streamed = [
            event
            async for event in stub.StreamInfer(pb.StreamInferRequest(request=request), metadata=metadata(organization))
        ]
    async with organization.async_client() as client:
        over_http = (await client.post("/infer", json=body)).json()
    assert [(step.id, step.cache_tier) for step in miss.outcome.steps] == [("s1", 0), ("s2", 0)]
    assert sum(step.cost_nanos for step in miss.outcome.steps) == miss.outcome.cost_nanos > 0
    assert over_http["response"] == miss.response == "".join(event.delta for event in streamed)
    assert [step.cache_tier for step in streamed[-1].done.steps] == [3, 3]
    assert (over_http["cache_tier"], streamed[-1].done.cache_tier) == (3, 3)


async def test_what_the_cache_did_is_explained_over_grpc(organization: Organization) -> None:
    request = pb.InferRequest(prompt="Why? " * 100, explain=True)
    async with grpc.aio.insecure_channel(organization.installation.grpc_target) as channel:
        stub = InferenceServiceStub(channel)
        miss, hit = [await stub.Infer(request, metadata=metadata(organization)) for _ in range(2)]
    assert "500 characters, of at most 400" in miss.outcome.cache_explanation
    assert "from cache tier 1" in hit.outcome.cache_explanation


async def test_a_quote_over_grpc_is_the_one_over_http(organization: Organization) -> None:
    steps = [
        pb.WorkflowStep(id="s1", prompt="Summarise {{document}}", type="summarize"),
        pb.WorkflowStep(id="s2", prompt="{{s1}}: {{prompt}}", depends_on=["s1"]),
    ]
    request = pb.InferRequest(prompt="Who quotes?", document="Another text.", steps=steps, explain=True)
    body = {
        "prompt": "Who quotes?",
        "document": "Another text.",
        "steps": [
            {"id": "s1", "prompt": "Summarise {{document}}", "type": "summarize"},
            {"id": "s2", "prompt": "{{s1}}: {{prompt}}", "depends_on": ["s1"]},
        ],
        "explain": True,
    }
    async with grpc.aio.insecure_channel(organization.installation.grpc_target) as channel:
        quoted = await InferenceServiceStub(channel).Quote(
            pb.QuoteRequest(request=request), metadata=metadata(organization)
        )
    async with organization.async_client() as client:
        over_http = (await client.post("/quote", json=body)).json()
    assert [(one.id, one.model, one.estimated) for one in quoted.steps] == [
        (one["id"], one["model"], one["estimated"]) for one in over_http["steps"]
    ]
    assert quoted.expected_cost_nanos == round(over_http["expected_cost"] * 1e9) > 0
    assert quoted.max_cost_nanos == round(over_http["max_cost"] * 1e9)
    assert (quoted.model, quoted.cache.explanation) == (over_http["model"], over_http["cache"]["explanation"])
    assert [one.model for one in quoted.alternatives] == [one["model"] for one in over_http["alternatives"]]


async def test_a_streamed_miss_over_grpc_comes_piece_by_piece(organization: Organization) -> None:
    async with grpc.aio.insecure_channel(organization.installation.grpc_target) as channel:
        stub = InferenceServiceStub(channel)
        chat = ChatRequest(messages=[Message(role=Role.ROLE_USER, parts=[ContentPart(text="Describe a river.")])])
        call = stub.StreamChat(pb.StreamChatRequest(request=pb.ChatRequest(chat=chat)), metadata=metadata(organization))
        events = [event async for event in call]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "decision"
    assert kinds[-1] == "done"
    assert kinds.count("delta") > 5
    done = events[-1].done
    assert "".join(event.delta for event in events) == done.answer.parts[0].text
    assert done.outcome.usage.output_tokens > 0


@pytest.mark.parametrize(
    ("request_", "key", "code", "reason"),
    [
        (pb.InferRequest(prompt="x"), "", grpc.StatusCode.UNAUTHENTICATED, "invalid_api_key"),
        (pb.InferRequest(), None, grpc.StatusCode.INVALID_ARGUMENT, "invalid_request"),
        (
            pb.InferRequest(prompt="x", routing=Routing(mode=RoutingMode.ROUTING_MODE_EXPLICIT, model="gpt-nope")),
            None,
            grpc.StatusCode.NOT_FOUND,
            "model_not_found",
        ),
    ],
)
async def test_errors_over_grpc_carry_the_contracts_codes(
    organization: Organization, request_: pb.InferRequest, key: str | None, code: grpc.StatusCode, reason: str
) -> None:
    sent = metadata(organization) if key is None else []
    async with grpc.aio.insecure_channel(organization.installation.grpc_target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await InferenceServiceStub(channel).Infer(request_, metadata=sent)
    assert caught.value.code() is code
    status = Status.FromString(dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"])
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("asahi", reason)


_ONCE = ("idempotency-key", "once")
_UNCACHED = ("x-asahi-cache", "off")


@pytest.mark.parametrize("method", ["Infer", "StreamInfer", "Chat", "StreamChat"])
async def test_a_call_with_a_key_is_made_once(organization: Organization, method: str) -> None:
    prompt = f"Once by {method}"
    chat = pb.ChatRequest(chat=ChatRequest(messages=[Message(role=Role.ROLE_USER, parts=[ContentPart(text=prompt)])]))
    infer = pb.InferRequest(prompt=prompt)
    request = {
        "Infer": infer,
        "StreamInfer": pb.StreamInferRequest(request=infer),
        "Chat": chat,
        "StreamChat": pb.StreamChatRequest(request=chat),
    }[method]
    sent = [*metadata(organization), _ONCE, _UNCACHED]
    control = SimulatorControl(organization.installation.url_of("simulator"))
    async with grpc.aio.insecure_channel(organization.installation.grpc_target) as channel:

        async def ask() -> tuple[list[Any], bool]:
            call = getattr(InferenceServiceStub(channel), method)(request, metadata=sent)
            told = [event async for event in call] if method.startswith("Stream") else [await call]
            return told, ("idempotent-replayed", "true") in tuple(await call.initial_metadata())

        together = await asyncio.gather(ask(), ask(), ask())
        later = await ask()
        with pytest.raises(grpc.aio.AioRpcError) as conflict:
            await InferenceServiceStub(channel).Infer(pb.InferRequest(prompt="Another"), metadata=sent)
    assert all(told == later[0] for told, _ in together)
    assert sorted(replayed for _, replayed in together) == [False, True, True]
    assert later[1]
    last = later[0][-1]
    outcome = getattr(last, "done", last)
    request_id = getattr(outcome, "outcome", outcome).request_id
    assert len(control.calls(request_id)) == 1
    assert conflict.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_a_key_that_cannot_be_one_is_refused_over_grpc(organization: Organization) -> None:
    sent = [*metadata(organization), ("idempotency-key", "x" * 256)]
    async with grpc.aio.insecure_channel(organization.installation.grpc_target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await InferenceServiceStub(channel).Infer(pb.InferRequest(prompt="x"), metadata=sent)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_texts_that_were_embedded_over_http_are_not_embedded_again_over_grpc(organization: Organization) -> None:
    async with organization.async_client() as client:
        body = {"input": ["one", "two"], "model": "text-embedding-3-small", "encoding_format": "base64"}
        over_http = (await client.post("/v1/embeddings", json=body)).json()
    async with grpc.aio.insecure_channel(organization.installation.grpc_target) as channel:
        stub = InferenceServiceStub(channel)
        hit = await stub.Embed(
            pb.EmbedRequest(input=["two", "one"], model="text-embedding-3-small"), metadata=metadata(organization)
        )
        local = await stub.Embed(pb.EmbedRequest(input=["one"]), metadata=metadata(organization))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Embed(pb.EmbedRequest(input=["one", ""]), metadata=metadata(organization))
    vectors = [b64decode(one["embedding"]) for one in over_http["data"]]
    assert list(hit.embeddings) == vectors[::-1]
    assert (hit.outcome.cache_tier, hit.outcome.cost_nanos) == (1, 0)
    assert hit.input_tokens == over_http["usage"]["prompt_tokens"]
    assert (local.outcome.provider, len(local.embeddings[0])) == ("local", 4 * 384)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


_INFER = "/asahi.inference.v1.InferenceService/Infer"


async def _ended(call: Any) -> grpc.StatusCode:
    """How a call ends of which no message is ever sent."""
    async with asyncio.timeout(20):
        with suppress(grpc.aio.AioRpcError):
            await call.read()
        code: grpc.StatusCode = await call.code()
        return code


async def test_a_call_is_refused_before_its_message_is_sent(organization: Organization) -> None:
    forged = [("authorization", "Bearer " + "x" * 40)]
    async with grpc.aio.insecure_channel(organization.installation.grpc_target) as channel:
        assert await _ended(channel.stream_stream(_INFER)(metadata=forged)) is grpc.StatusCode.UNAUTHENTICATED


async def test_few_messages_at_a_time_may_take_long_and_those_that_do_not_are_served(
    organization: Organization,
) -> None:
    async with grpc.aio.insecure_channel(organization.installation.grpc_target) as channel:
        silent: list[Any] = [channel.stream_stream(_INFER)(metadata=metadata(organization)) for _ in range(6)]
        ending = [asyncio.create_task(_ended(call)) for call in silent]
        ended, _ = await asyncio.wait(ending, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        while len(ended) < 2:
            ended, _ = await asyncio.wait(ending, timeout=1)
        assert {one.result() for one in ended} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert len(ended) == 2, "four may take long"
        answer = await InferenceServiceStub(channel).Infer(
            pb.InferRequest(prompt="What is small?"), metadata=metadata(organization)
        )
        assert answer.response
        for call in silent:
            call.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        again: Any = channel.stream_stream(_INFER)(metadata=metadata(organization))
        await again.write(pb.InferRequest(prompt="What is small?").SerializeToString())
        assert pb.InferResponse.FromString(await again.read()).outcome.cache_tier == 1
