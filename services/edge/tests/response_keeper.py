"""Kept responses in memory, as the cache service promises them."""

import msgspec

from asahi.cache.v1.responses_pb2 import ConversationTurn, GetResponseResponse
from asahi_core.errors import AsahiError, NotFound
from asahi_edge.domain.stored_responses import KeptResponse


class MemoryResponses:
    """Keeps responses; fails with `failure` while it is set."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], KeptResponse] = {}
        self.failure: AsahiError | None = None

    async def keep_response(self, response: KeptResponse) -> None:
        self._answer()
        if response.previous_id:
            self._find(response.organization_id, response.previous_id)
        self.kept[response.organization_id, response.response_id] = response

    async def get_response(self, organization_id: str, response_id: str) -> GetResponseResponse:
        self._answer()
        found = self._find(organization_id, response_id)
        return GetResponseResponse(response_json=found.response_json, output_json=found.output_json)

    async def conversation(self, organization_id: str, response_id: str) -> list[ConversationTurn]:
        self._answer()
        turns: list[ConversationTurn] = []
        name = response_id
        while name:
            found = self._find(organization_id, name)
            turn = ConversationTurn(response_id=name, input_json=found.input_json, output_json=found.output_json)
            turns.insert(0, turn)
            name = found.previous_id
        return turns

    async def delete_response(self, organization_id: str, response_id: str) -> None:
        self._answer()
        self._find(organization_id, response_id)
        del self.kept[organization_id, response_id]

    async def erase_responses(self, organization_id: str, user_id: str = "") -> int:
        self._answer()
        theirs = [
            key
            for key, response in self.kept.items()
            if key[0] == organization_id and user_id in {"", response.user_id}
        ]
        for key in theirs:
            del self.kept[key]
        return len(theirs)

    def body(self, response_id: str) -> dict[str, object]:
        """A kept response of the first organisation, whole."""
        found = self.kept["org-1", response_id]
        whole: dict[str, object] = msgspec.json.decode(found.response_json)
        return {**whole, "output": msgspec.json.decode(found.output_json)}

    def _answer(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _find(self, organization_id: str, response_id: str) -> KeptResponse:
        found = self.kept.get((organization_id, response_id))
        if found is None:
            raise NotFound(f"Response with id '{response_id}' not found.")
        return found
