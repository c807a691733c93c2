"""Embeddings at the router: the model that is named, what it takes, and what providers may answer."""

import asyncio
import json
import struct
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asahi.router.v1 import router_pb2 as pb
from asahi.type.v1.chat_pb2 import Api, NativeBody, Prompt
from asahi.type.v1.routing_pb2 import Routing, RoutingMode, RoutingPolicy
from asahi_core.errors import AsahiError, InvalidRequest, ServiceUnavailable
from asahi_router.catalog.loader import load_catalog
from asahi_router.catalog.marked_yaml import WrongCatalog
from asahi_router.catalog.serving import own_endpoints, serve_embeddings
from asahi_router.providers.embeddings import adapt, read_answer
from services.router.tests.running import running
from simulator.tests.running import RunningSimulator

SMALL = "text-embedding-3-small"
_FLOATS = [0.5, -0.25, 1.0]
_PACKED = struct.pack("<3f", *_FLOATS)


def _start(sent: Any, model: str = SMALL, policy: RoutingPolicy | None = None, **fields: Any) -> pb.CompleteStart:
    body = json.dumps({"model": model, "input": sent, **fields}).encode()
    return pb.CompleteStart(
        task=pb.Task(
            organization_id="org-1",
            request_id="r-1",
            prompt=Prompt(native=NativeBody(api=Api.API_OPENAI_EMBEDDINGS, body=body)),
            routing=Routing(mode=RoutingMode.ROUTING_MODE_EXPLICIT, model=model),
            policy=policy or RoutingPolicy(),
        )
    )


async def _events(router: Any, start: pb.CompleteStart) -> list[pb.CompleteResponse]:
    async def said() -> AsyncIterator[pb.CompleteRequest]:
        yield pb.CompleteRequest(start=start)
        await asyncio.sleep(30)

    return [event async for event in router.Complete(said())]


def _body(events: list[pb.CompleteResponse]) -> Any:
    return json.loads(events[-1].completed.answer.native.body)


async def test_a_completion_announces_its_bound_and_answers_with_vectors_and_usage(
    tmp_path: Path, simulator: RunningSimulator
) -> None:
    async with running(tmp_path, simulator_url=simulator.url) as router:
        events = await _events(router, _start(["one", "two"], dimensions=4))
    decision, attempt, completed = events[0].decision, events[1].attempt, events[2].completed
    assert (decision.model, decision.provider, decision.reference_model) == (SMALL, "simulator", SMALL)
    assert decision.task_type == "embedding"
    usage = completed.answer.usage
    assert 20 * usage.input_tokens <= attempt.max_cost_nanos == decision.max_cost_nanos
    assert usage.output_tokens == 0
    vectors = [b64decode(one["embedding"]) for one in _body(events)["data"]]
    assert [len(vector) for vector in vectors] == [16, 16]


async def test_a_server_of_ones_own_embeds_by_its_own_name_for_the_model(
    tmp_path: Path, simulator: RunningSimulator
) -> None:
    providers, catalog = tmp_path / "own.yaml", tmp_path / "catalog.yaml"
    providers.write_text(
        f"providers:\n  - {{id: own, protocol: openai, base_url: '{simulator.url}/v1', models: {{bge: acme/bge-m3}}}}\n"
    )
    catalog.write_text("embedding_models:\n  - {id: bge, vendor: acme, dimensions: 1536, max_input_tokens: 8192}\n")
    async with running(tmp_path, providers_file=providers, catalog_file=catalog) as router:
        events = await _events(router, _start(["one"], "bge"))
        listed = (await router.ListModels(pb.ListModelsRequest())).embedding_models
    assert (events[0].decision.provider, _body(events)["model"]) == ("own", "bge")
    assert "its price is not known" in events[0].decision.reason
    assert simulator.calls()[-1]["model"] == "acme/bge-m3"
    served = {model.id: model.provider for model in listed}
    assert served == {"bge": "own", SMALL: "", "text-embedding-3-large": "", "text-embedding-ada-002": "",
                      "all-MiniLM-L6-v2": ""}  # fmt: skip


async def test_without_the_cache_service_the_local_model_says_so(tmp_path: Path, simulator: RunningSimulator) -> None:
    async with running(tmp_path, simulator_url=simulator.url, cache_target="127.0.0.1:1") as router:
        with pytest.raises(ServiceUnavailable):
            await _events(router, _start(["one"], "all-MiniLM-L6-v2"))


@pytest.mark.parametrize(
    ("start", "code", "param"),
    [
        (_start(["x"], "gpt-6-luna"), "model_not_found", "model"),
        (_start(["x"], "all-MiniLM-L6-v2"), "model_not_found", "model"),
        (_start(["x"], policy=RoutingPolicy(allowed_models=["claude-*"])), "model_not_allowed", "model"),
        (_start(["x"], policy=RoutingPolicy(key_allowed_models=["claude-*"])), "model_not_allowed", "model"),
        (_start(["x"], policy=RoutingPolicy(allowed_providers=["openai"])), "model_not_allowed", "model"),
        (_start(["x"], dimensions=1537), "unsupported_by_model", "dimensions"),
        (_start(["x"], "text-embedding-ada-002", dimensions=1000), "unsupported_by_model", "dimensions"),
        (_start([]), "invalid_request", "input"),
        (_start("x"), "invalid_request", None),
    ],
)
async def test_what_cannot_be_answered_is_refused_before_anybody_is_asked(
    start: pb.CompleteStart, code: str, param: str | None, tmp_path: Path, simulator: RunningSimulator
) -> None:
    async with running(tmp_path, simulator_url=simulator.url) as router:
        with pytest.raises(AsahiError) as raised:
            await _events(router, start)
    assert (raised.value.code, raised.value.param) == (code, param)
    assert not simulator.calls()


async def test_a_choice_is_never_left_to_the_router(tmp_path: Path, simulator: RunningSimulator) -> None:
    start = _start(["x"])
    start.task.routing.CopyFrom(Routing(mode=RoutingMode.ROUTING_MODE_AUTOPILOT))
    async with running(tmp_path, simulator_url=simulator.url) as router:
        with pytest.raises(InvalidRequest, match="a model that is named"):
            await _events(router, start)


def test_a_question_is_asked_for_base64_with_all_else_as_it_was() -> None:
    sent = b'{"input":["a",[1,2]],"model":"asahi","future":{"a":1.50},"organization_id":"org-1"}'
    asked = adapt(sent, "theirs")
    assert json.loads(asked) == {
        "input": ["a", [1, 2]], "model": "theirs", "future": {"a": 1.5}, "encoding_format": "base64",
    }  # fmt: skip
    assert b"1.50" in asked


@pytest.mark.parametrize("written", [_FLOATS, b64encode(_PACKED).decode()], ids=["numbers", "base64"])
def test_vectors_are_read_in_either_form_and_put_in_order(written: Any) -> None:
    other = b64encode(struct.pack("<3f", 0, 0, 1)).decode()
    data = [{"index": 1, "embedding": other}, {"index": 0, "embedding": written}]
    body = json.dumps({"data": data, "usage": {"prompt_tokens": 5}, "model": "x"}).encode()
    assert read_answer(body, 2) == ([_PACKED, struct.pack("<3f", 0, 0, 1)], 5)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([], "0 vectors for 1 inputs"),
        ([{"index": 0, "embedding": [1.0]}] * 2, "2 vectors for 1 inputs"),
        ([{"index": 7, "embedding": [1.0]}], "1 vectors for 1 inputs"),
        ([{"index": 0, "embedding": "?"}], "no base64"),
        ([{"index": 0, "embedding": "AAAA"}], "3 bytes"),
        ([{"index": 0, "embedding": ""}], "0 bytes"),
        ([{"index": 0, "embedding": [1e300]}], "none of 32 bits"),
    ],
)
def test_what_is_no_answer_is_a_failure_of_the_provider(data: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_answer(json.dumps({"data": data}).encode(), 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("embedding_models:\n  - {id: e, vendor: v, dimensions: 0, max_input_tokens: 1}\n", "line 2: .*dimensions"),
        ("embedding_models:\n  - {id: gpt-6-luna, vendor: v, dimensions: 1, max_input_tokens: 1}\n", "that answers"),
        (
            "embedding_models:\n  - {id: e, vendor: v, dimensions: 4, least_dimensions: 5, max_input_tokens: 1}\n",
            "line 2: .*over 4",
        ),
        ("embedding_models: 7\n", "is no list"),
    ],
)
def test_a_wrong_catalog_of_embedding_models_is_refused_with_its_line(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    with pytest.raises(WrongCatalog, match=says):
        load_catalog(path)


def test_a_server_of_anthropics_protocol_embeds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"providers:\n  - {{id: own, protocol: anthropic, base_url: 'http://x', models: [{SMALL}]}}\n")
    with pytest.raises(WrongCatalog, match="only protocol openai"):
        own_endpoints(path, load_catalog(), lambda _name: True)


def test_the_local_model_is_served_where_the_cache_service_is_known() -> None:
    for local in (True, False):
        served = {one.model.id: one.provider for one in serve_embeddings(load_catalog(), [], local=local)}
        assert served["all-MiniLM-L6-v2"] == ("local" if local else "")
