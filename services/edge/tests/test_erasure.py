"""What is done on other services is bracketed by two entries of the audit chain, however it ends."""

from typing import cast

import pytest
from google.protobuf.json_format import MessageToDict

from asahi.auth.v1 import auth_pb2 as pb
from asahi_core.clock import SystemClock
from asahi_core.errors import AsahiError, ServiceUnavailable
from asahi_edge.domain.erasure import Eraser
from asahi_edge.domain.governance_ports import Governance, Ledger
from asahi_edge.domain.ports import EVERYTHING, AnswerCache, Authenticator, Matching, Outcomes
from asahi_edge.domain.stored_responses import ResponseStore
from asahi_edge.domain.verdicts import Verdicts

_OPERATOR = pb.Actor(operator=pb.Operator())


class _Books:
    """Writes down what it is asked for, in order."""

    def __init__(self, failing: str = "") -> None:
        self.calls: list[str] = []
        self.ended: list[tuple[str, dict[str, object]]] = []
        self._failing = failing

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self._failing:
            raise ServiceUnavailable("It does not answer.", retry_after_s=1.0)

    async def begin_act(self, request: pb.BeginActRequest) -> pb.BeginActResponse:
        self._note(f"begin {request.action} {request.user_id}".strip())
        return pb.BeginActResponse(act_id="act-1")

    async def end_act(self, request: pb.EndActRequest) -> pb.EndActResponse:
        self._note("end")
        self.ended.append((request.outcome, MessageToDict(request.details)))
        return pb.EndActResponse()

    async def delete_organization(self, request: pb.DeleteOrganizationRequest) -> pb.DeleteOrganizationResponse:
        self._note("delete")
        return pb.DeleteOrganizationResponse(erased={"keys": 2})

    async def erase_user(self, request: pb.EraseUserRequest) -> pb.EraseUserResponse:
        self._note(f"erase {request.user_id}")
        return pb.EraseUserResponse(erased={"pseudonyms": 1})

    async def invalidate(self, organization_id: str, matching: Matching = EVERYTHING) -> int:
        self._note(f"invalidate {matching.user_id}".strip())
        return 5

    async def erase_evidence(self, organization_id: str) -> int:
        self._note("erase evidence")
        return 7

    async def erase_replays(self, organization_id: str, user_id: str = "") -> int:
        self._note(f"erase replays {user_id}".strip())
        return 3

    async def erase_identities(self, organization_id: str, user_id: str = "") -> tuple[int, int]:
        self._note(f"erase names {user_id}".strip())
        return 7, 1

    async def erase_outcomes(self, organization_id: str, user_id: str = "") -> tuple[int, int]:
        self._note(f"erase outcomes {user_id}".strip())
        return 6, 9

    async def erase_responses(self, organization_id: str, user_id: str = "") -> int:
        self._note(f"erase responses {user_id}".strip())
        return 4


def _eraser(books: _Books) -> Eraser:
    verdicts = Verdicts(cast(Authenticator, books), SystemClock(), fresh_s=5.0, grace_s=60.0)
    return Eraser(
        cast(Governance, books),
        cast(AnswerCache, books),
        cast(ResponseStore, books),
        cast(Ledger, books),
        cast(Outcomes, books),
        verdicts=verdicts,
    )


async def test_an_organizations_keys_end_before_its_answers_are_dropped() -> None:
    books = _Books()
    erasure = await _eraser(books).erase_organization(_OPERATOR, "org-1")
    assert books.calls == [
        "begin organization.erase",
        "delete",
        "invalidate",
        "erase replays",
        "erase responses",
        "erase evidence",
        "erase names",
        "erase outcomes",
        "end",
    ]
    names = {"billing.names": 7, "billing.alerts": 1}
    learnt = {"router.outcomes": 6, "router.examples": 9}
    kept = {"cache.answers": 5, "cache.replays": 3, "cache.responses": 4, "cache.evidence": 7}
    assert erasure.erased == {"auth.keys": 2, **kept, **names, **learnt}
    assert books.ended == [("done", erasure.erased)]
    assert "billing.usage" in erasure.kept
    assert not any(store.startswith("router.") for store in erasure.kept)


async def test_an_end_user_is_erased_from_the_cache_and_from_auth() -> None:
    books = _Books()
    erasure = await _eraser(books).erase_user(_OPERATOR, "org-1", "ada")
    assert books.calls == [
        "begin user.erase ada",
        "invalidate ada",
        "erase replays ada",
        "erase responses ada",
        "erase names ada",
        "erase outcomes ada",
        "erase ada",
        "end",
    ]
    names = {"billing.names": 7, "billing.alerts": 1}
    learnt = {"router.outcomes": 6, "router.examples": 9}
    assert erasure.erased == {
        "auth.pseudonyms": 1,
        "cache.answers": 5,
        "cache.replays": 3,
        "cache.responses": 4,
        **names,
        **learnt,
    }


async def test_an_act_that_fails_ends_with_the_code_of_its_error() -> None:
    books = _Books(failing="invalidate")
    with pytest.raises(AsahiError):
        await _eraser(books).erase_organization(_OPERATOR, "org-1")
    assert books.ended == [("service_unavailable", {})]


async def test_nothing_is_done_that_cannot_be_written_down_first() -> None:
    books = _Books(failing="begin organization.erase")
    with pytest.raises(AsahiError):
        await _eraser(books).erase_organization(_OPERATOR, "org-1")
    assert books.calls == ["begin organization.erase"]
