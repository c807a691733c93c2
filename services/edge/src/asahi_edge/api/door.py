"""The door: whether a request for inference is let in, decided by its head, before anything of it is read."""

from collections.abc import Sequence

from asahi_core.errors import InvalidApiKey, Overloaded
from asahi_edge.api.authentication import key_in
from asahi_edge.domain.admission import Admission, Place
from asahi_edge.domain.verdicts import Verdicts

_INFERENCE = frozenset(
    {
        *(b"/infer", b"/v1/chat/completions", b"/v1/responses", b"/v1/embeddings"),
        *(b"/v1/messages", b"/v1/messages/count_tokens"),
    }
)
_CREDENTIALS = (b"authorization", b"x-api-key")
PLACE = "asahi.place"
"""Where the scope of a request that was let in has its place."""


class Door:
    """Knows whose request it is by the verdicts that are kept; who is not known yet is let in, and refused later."""

    def __init__(self, admission: Admission, verdicts: Verdicts) -> None:
        self._admission = admission
        self._verdicts = verdicts

    def enter(self, method: bytes, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Place | Overloaded | None:
        """The place of the request, or why there is none; None: it is none of the door's business."""
        if method != b"POST" or url.partition(b"?")[0] not in _INFERENCE:
            return None
        sent = {name.decode(): value.decode("latin-1") for name, value in headers if name in _CREDENTIALS}
        try:
            organization_id = self._verdicts.organization_of(key_in(sent))
        except InvalidApiKey:
            return None
        try:
            return self._admission.take(organization_id) if organization_id else None
        except Overloaded as error:
            return error
