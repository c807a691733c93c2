"""Bodies of `/governance/audit`."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from asahi_edge.api.schemas.fields import Count, Moment, described


class AuditEntryView(Struct, kw_only=True):
    """Who did what when."""

    sequence: Annotated[int, described("Its place in the chain, from 1.", ge=1)]
    occurred_at: Annotated[Moment, described("When it was written.")]
    actor: Annotated[
        str, described("The id of a key, `operator`, `signup`, `person:` and the subject, or `asahi` itself.")
    ]
    action: Annotated[str, described("What was done, such as `api_key.create`.")]
    target: Annotated[str, described("Id of what it was done to; end users under a pseudonym.")]
    details: Annotated[dict[str, Any], described("What changed, without secrets.")]
    outcome: Annotated[str, described("`done`, `begun`, or the code of the error that ended an act.")]
    address: Annotated[str | None, described("Address that the call came from; null: unknown.")]
    request_id: Annotated[str | None, described("The request; null: none.")]
    hmac: Annotated[
        Annotated[str, Meta(pattern="^[0-9a-f]*$")],
        described("HMAC-SHA-256 over the entry and the one before, hexadecimal."),
    ]


class AuditList(Struct):
    """A page of audit entries, newest first."""

    data: Annotated[list[AuditEntryView], described("The entries.")]
    next_cursor: Annotated[str | None, described("Asks for the next page; null: this was the last.")]


class AuditFaultView(Struct):
    """Something wrong with an audit chain."""

    sequence: Annotated[Count, described("Where in the chain.")]
    kind: Annotated[str, described("`changed`, `missing`, `reordered`, or `cut`.")]
    description: Annotated[str, described("In one sentence.")]


class AuditCheck(Struct, kw_only=True):
    """An audit chain, recomputed and compared with its checkpoints."""

    intact: Annotated[bool, described("Whether nothing is wrong.")]
    entries: Annotated[Count, described("Entries that were recomputed.")]
    checkpoints: Annotated[Count, described("Checkpoints that were compared.")]
    faults: Annotated[list[AuditFaultView], described("What is wrong, in order of the chain.")]
    last_checkpoint_sequence: Annotated[
        Count, described("Sequence of the last checkpoint: a loss after it cannot be seen; 0: there is none.")
    ]
    last_checkpoint_at: Annotated[Moment | None, described("When that was written; null: there is none.")]
