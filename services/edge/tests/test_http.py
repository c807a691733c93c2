"""The edge over HTTP: ids, headers, and errors in both shapes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from asahi.router.v1.router_pb2 import ListModelsResponse
from asahi_core.errors import (
    ERRORS_BY_CODE,
    AsahiError,
    DeadlineExceeded,
    NoModelSatisfies,
    Overloaded,
    ServiceUnavailable,
    UnsupportedByModel,
)
from asahi_core.ids import SystemIds
from asahi_core.keys import mint_key
from asahi_edge.domain import health
from services.edge.tests.flying import soon, until, verdict
from services.edge.tests.serving import MAX_BODY_BYTES, Served, scopes, serving

_ASK = {"prompt": "What is 6 × 7?"}

_WRONG_BODIES = (
    (b"{", None),
    (b'{"prompt": NaN}', None),
    (b'{"prompt": "\xff"}', None),
    (b'{"prompt":' * 10_000, None),
    (b"[]", None),
    (b"", None),
    (b"{}", "prompt"),
    (b'{"prompt": 7}', "prompt"),
    (b'{"prompt": "x", "seed": 99999999999999999999}', "seed"),
    (b'{"prompt": "%s"}' % (b"x" * 100_001), "prompt"),
)


def _answers(served: Served, text: str = "42") -> None:
    served.rig.router.script = lambda call: call.answer(text)


async def test_an_answer_says_what_it_cost_and_the_next_comes_from_the_cache() -> None:
    async with serving() as served:
        _answers(served)
        miss = await served.ask("/infer", _ASK)
        served.rig.clock.advance(5)
        hit = await served.ask("/infer", _ASK)
    first, second = miss.json(), hit.json()
    assert (first["response"], second["response"]) == ("42", "42")
    assert (miss.headers["x-asahi-cache"], hit.headers["x-asahi-cache"]) == ("miss", "hit; tier=1")
    assert (hit.headers["age"], "age" in miss.headers) == ("5", False)
    assert float(miss.headers["x-asahi-cost-usd"]) == first["cost"] > 0
    assert (hit.headers["x-asahi-cost-usd"], second["cost"]) == ("0", 0)
    for body in (first, second):
        assert sum(body["savings_breakdown"].values()) == pytest.approx(body["cost_original"] - body["cost"], abs=1e-12)
    assert (first["tokens_input"], second["tokens_input"]) == (10, 0)
    assert first["request_id"] != second["request_id"]


async def test_a_callers_request_id_is_kept_if_it_is_short_and_safe() -> None:
    labels = {"order-7/a": True, "x" * 128: True, "x" * 129: False, "a b": False, "é": False}
    async with serving() as served:
        _answers(served)
        for sent, kept in labels.items():
            answer = await served.client.post("/infer", json=_ASK, headers={b"x-request-id": sent.encode()})
            ours = answer.headers["x-asahi-request-id"]
            assert answer.json()["request_id"] == ours
            assert answer.headers["x-request-id"] == answer.headers["request-id"] == (sent if kept else ours)


async def test_who_wants_no_cache_is_told_so() -> None:
    async with serving() as served:
        _answers(served)
        answer = await served.ask("/infer", _ASK, x_asahi_cache="off")
    assert answer.headers["x-asahi-cache"] == "bypass"


async def test_every_error_has_its_status_and_openais_shape(subtests: pytest.Subtests) -> None:
    async with serving() as served:
        for code, kind in sorted(ERRORS_BY_CODE.items()):
            with subtests.test(code):
                served.rig.router.failure = kind("It did not work.", param="seed", retry_after_s=1.5)
                _check_error(await served.ask("/infer", _ASK), kind)


def _check_error(answer: httpx2.Response, kind: type[AsahiError]) -> None:
    body, retry = answer.json()["error"], answer.headers.get("x-should-retry")
    assert answer.status_code == kind.http_status
    assert set(body) == {"message", "type", "code", "param", "request_id"}
    assert (body["message"], body["type"], body["code"]) == ("It did not work.", kind.openai_type, kind.code)
    assert (body["param"], body["request_id"]) == ("seed", answer.headers["x-asahi-request-id"])
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("2", "1500")
    assert retry == (None if kind.should_retry is None else str(kind.should_retry).lower())


async def test_errors_on_anthropics_paths_have_anthropics_shape() -> None:
    async with serving() as served:
        keyless = await served.client.post("/v1/messages", json={}, headers={"authorization": ""})
        wrong = await served.ask("/v1/messages", {"max_tokens": "many"})
        unknown = await served.client.get("/v1/models/none", headers={"anthropic-version": "2023-06-01"})
        openais = await served.client.get("/v1/models/none")
    assert (keyless.status_code, keyless.json()["error"]["type"]) == (401, "authentication_error")
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (400, "invalid_request_error")
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")
    for answer in (keyless, wrong, unknown):
        assert set(answer.json()) == {"type", "error", "request_id"}
        assert answer.json()["type"] == "error"
        assert answer.json()["request_id"] == answer.headers["request-id"]
    assert openais.json()["error"]["code"] == "model_not_found"


async def test_load_is_529_to_anthropics_sdk_and_503_to_openais() -> None:
    async with serving() as served:
        overloaded = Overloaded("All are busy.", retry_after_s=1.0)

        async def busy() -> Any:
            raise overloaded

        served.others.list_models = busy  # type: ignore[method-assign]  # what the catalog says is the test's
        anthropics = await served.client.get("/v1/models", headers={"anthropic-version": "2023-06-01"})
        openais = await served.client.get("/v1/models")
    assert (anthropics.status_code, anthropics.json()["error"]["type"]) == (529, "overloaded_error")
    assert (openais.status_code, openais.json()["error"]["code"]) == (503, "overloaded")
    assert anthropics.headers["retry-after"] == openais.headers["retry-after"] == "1"


async def test_a_body_that_cannot_be_understood_is_a_400(subtests: pytest.Subtests) -> None:
    async with serving() as served:
        for body, param in _WRONG_BODIES:
            with subtests.test(body[:40].decode("latin-1")):
                answer = await served.ask("/infer", body)
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
                assert answer.json()["error"]["param"] == param
        assert served.rig.router.calls == []


async def test_a_body_over_the_limit_is_a_413_whether_its_length_was_said_or_not() -> None:
    body = b'{"prompt": "' + b"x" * MAX_BODY_BYTES + b'"}'

    async def unsaid() -> AsyncIterator[bytes]:
        yield body

    async with serving() as served:
        for path in ("/infer", "/v1/chat/completions"):
            said = await served.ask(path, body)
            chunked = await served.client.post(path, content=unsaid(), headers={"content-type": "application/json"})
            assert [answer.status_code for answer in (said, chunked)] == [413, 413]
            assert said.json()["error"]["code"] == "request_too_large"


async def test_what_is_not_json_is_a_415_and_other_methods_and_paths_say_so() -> None:
    async with serving() as served:
        form = await served.ask("/infer", b"prompt=x", content_type="application/x-www-form-urlencoded")
        method = await served.client.get("/infer")
        path = await served.client.get("/inference")
    assert [answer.status_code for answer in (form, method, path)] == [415, 405, 404]
    assert [answer.json()["error"]["code"] for answer in (form, method, path)] == [
        "unsupported_media_type",
        "method_not_allowed",
        "not_found",
    ]
    assert method.headers["allow"] == "POST"


async def test_without_a_key_of_ours_nothing_is_served() -> None:
    async with serving() as served:
        for wrong in ({}, {"authorization": "Bearer sk-x"}, {"authorization": "Basic eDp5"}, {"x-api-key": "k"}):
            answer = await served.client.post("/infer", json=_ASK, headers={"authorization": ""} | wrong)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_may_be_sent_as_either_sdk_sends_it() -> None:
    async with serving() as served:
        _answers(served)
        key = mint_key(SystemIds())
        for headers in ({"x-api-key": key, "authorization": ""}, {"authorization": f"bearer {key}"}):
            assert (await served.client.post("/infer", json=_ASK, headers=headers)).status_code == 200


async def test_a_key_opens_what_its_scopes_say_and_its_own_organization() -> None:
    async with serving() as served:
        served.auth.says = verdict()
        mismatch = await served.ask("/infer", _ASK | {"organization_id": "org-2"})
        served.auth.says.scopes[:] = scopes("analytics")
        served.client.headers["authorization"] = f"Bearer {mint_key(SystemIds())}"
        scope = await served.ask("/infer", _ASK)
    assert (mismatch.status_code, mismatch.json()["error"]["code"]) == (403, "organization_mismatch")
    assert (scope.status_code, scope.json()["error"]["code"]) == (403, "insufficient_scope")


async def test_what_the_router_calls_by_another_name_is_named_as_callers_wrote_it() -> None:
    async with serving() as served:
        served.rig.router.failure = UnsupportedByModel("It takes no seed.", param="model")
        explicit = {"routing_mode": "explicit", "model_override": "gpt-4o"}
        answer = await served.ask("/infer", _ASK | explicit)
    assert answer.json()["error"]["param"] == "model_override"


async def test_a_request_with_an_idempotency_key_goes_on_without_its_caller_who_finds_the_answer() -> None:
    async with serving() as served:
        leaving = asyncio.create_task(served.ask("/infer", _ASK, idempotency_key="k"))
        call = await served.rig.call()
        leaving.cancel()
        await asyncio.sleep(0.05)
        assert not call.cancelled
        again = asyncio.create_task(served.ask("/infer", _ASK, idempotency_key="k"))
        call.answer("42")
        answer = await soon(again)
        assert (answer.status_code, answer.headers["idempotent-replayed"]) == (200, "true")
        assert answer.json()["cost"] > 0
        assert len(served.rig.router.calls) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_wrong_idempotency_key_is_a_400(key: str) -> None:
    async with serving() as served:
        answer = await served.ask("/infer", _ASK, idempotency_key=key)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "idempotency-key")


async def test_a_latency_budget_is_the_deadline_of_the_call() -> None:
    async with serving() as served:
        answer = await served.ask("/infer", _ASK | {"latency_budget_ms": 20})
        for call in served.rig.router.calls:
            call.cancel()
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert answer.headers["x-should-retry"] == "false"


async def test_what_breaks_inside_is_a_500_without_a_word_about_its_cause() -> None:
    async with serving() as served:

        async def broken() -> Any:
            raise RuntimeError("password is hunter2")

        served.others.list_models = broken  # type: ignore[method-assign]  # what the catalog says is the test's
        answer = await served.client.get("/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "hunter2" not in answer.text
    assert [event["event"] for event in served.logged if event["log_level"] == "error"] == ["request_failed"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_ends_a_connection_that_is_old(stream: bool) -> None:
    async with serving(connection_s=1e-6) as served:
        _answers(served)
        for _ in range(2):
            answer = await served.ask("/infer", {**_ASK, "stream": stream})
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            assert "42" in answer.text


async def test_connections_stay_open_where_no_age_is_set() -> None:
    async with serving() as served:
        _answers(served)
        assert "connection" not in (await served.ask("/infer", _ASK)).headers


async def test_a_client_that_leaves_while_it_waits_has_its_call_given_up_and_logs_no_failure() -> None:
    async with serving() as served:
        asking = asyncio.ensure_future(served.ask("/infer", _ASK, cache_control="no-store"))
        call = await served.rig.call()
        call.decide()
        call.announce()
        asking.cancel()
        await until(lambda: call.cancelled)
        await until(lambda: any(event["event"] == "request" for event in served.logged))
        assert [event for event in served.logged if event["log_level"] == "error"] == []


async def test_a_client_that_leaves_in_the_midst_of_its_body_logs_no_failure() -> None:
    async with serving() as served:
        host, port = served.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        key = served.client.headers["authorization"]
        head = f"POST /infer HTTP/1.1\r\nhost: x\r\nauthorization: {key}\r\ncontent-length: 100\r\n\r\n"
        writer.write(head.encode() + b'{"prompt"')
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await until(lambda: any(event["event"] == "request" for event in served.logged))
        assert [event for event in served.logged if event["log_level"] == "error"] == []


async def test_the_access_log_has_the_figures_of_a_request_and_never_its_prompt_or_key() -> None:
    async with serving() as served:
        _answers(served)
        await served.ask("/infer", {"prompt": "my secret diary"})
        served.rig.router.failure = NoModelSatisfies("None is that cheap.")
        await served.ask("/infer", {"prompt": "another diary"})
        key = served.client.headers["authorization"].split()[1]
    answered, refused = (event for event in served.logged if event["event"] == "request")
    assert (answered["status"], answered["cache"], answered["model"]) == (200, "miss", "gpt-4o-mini")
    assert (refused["status"], refused["error"]) == (422, "no_model_satisfies")
    assert "diary" not in str(served.logged)
    assert key not in str(served.logged)


async def test_an_edge_is_ready_once_what_it_needs_has_answered() -> None:
    async with serving() as served:
        served.others.serve = False
        starting = asyncio.create_task(served.health.start())
        answer = await soon(served.client.get("/health/ready"))
        assert (answer.status_code, answer.json()) == (503, {"status": "starting"})
        served.others.serve = True
        await soon(starting)
        served.others.serve = False
        assert (await soon(served.client.get("/health/ready"))).json() == {"status": "ok"}


async def test_an_edge_does_not_wait_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_STARTED_WITHIN_S", 0.1)
    async with serving() as served:
        served.others.serve = False
        await soon(served.health.start())
        assert (await soon(served.client.get("/health/ready"))).status_code == 200


async def test_a_router_that_serves_and_is_slow_to_list_its_models_is_no_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def late() -> ListModelsResponse:
        raise DeadlineExceeded("The router did not answer in time.")

    async with serving() as served:
        monkeypatch.setattr(served.others, "list_models", late)
        answer = await soon(served.client.get("/health"))
    assert (answer.status_code, answer.json()["components"]["providers"]["status"]) == (200, "degraded")


async def test_probes_need_no_key_and_say_what_is_wrong() -> None:
    async with serving() as served:
        await soon(served.health.start())
        answers = [
            await soon(served.client.get(path, headers={"authorization": ""}))
            for path in ("/health/live", "/health/ready", "/docs", "/redoc", "/openapi.json")
        ]
        health = await served.client.get("/health", headers={"authorization": ""})
    assert [answer.status_code for answer in answers] == [200] * 5
    assert health.json()["status"] == "unhealthy", "no model is served"
    assert health.status_code == 503


async def test_the_documentation_loads_nothing_from_elsewhere() -> None:
    async with serving() as served:
        for path in ("/docs", "/redoc"):
            page = (await served.client.get(path)).text
            assert "https://cdn" not in page
            assert "/docs/assets/" in page


async def test_a_degraded_answer_says_so() -> None:
    async with serving() as served:
        _answers(served)
        served.rig.cache.failure = ServiceUnavailable("Gone.", retry_after_s=1.0)
        answer = await served.ask("/infer", _ASK)
    assert (answer.status_code, answer.headers["x-asahi-degraded"]) == (200, "cache")
