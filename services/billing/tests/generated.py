"""Any records that an edge may send, for property tests."""

from hypothesis import strategies as st

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi.type.v1.chat_pb2 import Api
from asahi.type.v1.routing_pb2 import RoutingMode
from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_billing.domain.rules import TOKEN_FIELDS
from services.billing.tests.records import ORGANIZATION, OTHER, call, compared, hit

_TECHNIQUES = ["routing", "provider_prompt_cache", "cascade", "coalesced", "cache_tier_1", "cache_tier_2"]
_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_tokens = st.integers(0, 200_000)
_times = st.floats(0, 3600)

usages = st.builds(Usage, source=st.sampled_from(UsageSource.values()), **dict.fromkeys(TOKEN_FIELDS, _tokens))
_savings = st.dictionaries(st.sampled_from(_TECHNIQUES), st.integers(0, 10**12), max_size=3)
_labels = {
    "user_id": _texts,
    "task_id": _texts,
    "task_type": _texts,
    "api_key_id": _texts,
    "routing_reason": _texts,
    "provider": _texts,
    "error_code": _texts,
    "tags": st.dictionaries(_texts, _texts, max_size=3),
    "api": st.sampled_from(Api.values()),
    "routing_mode": st.sampled_from(RoutingMode.values()),
    "latency_ms": st.floats(0, 1e6),
    "overhead_ms": st.floats(0, 1e6),
    "organization_id": st.sampled_from([ORGANIZATION, OTHER]),
}
_numbers = st.integers(0, 10_000)


@st.composite
def calls(draw: st.DrawFn) -> UsageRecord:
    """A provider call: priced or not, answered or not."""
    record = call(
        draw(_numbers),
        draw(st.integers(1, 5)),
        seconds=draw(_times),
        usage=draw(usages),
        answered=draw(st.booleans()),
        cost_overhead_nanos=draw(st.integers(0, 10**6)),
        **draw(st.fixed_dictionaries(_labels)),
    )
    if draw(st.integers(0, 9)) == 0:
        record.price_unknown, record.model = True, "nobody-knows"
        record.cost_nanos = record.cost_overhead_nanos = 0
    elif draw(st.booleans()):
        compared(record, draw(_savings))
    if not record.answered:
        record.orphan = draw(st.booleans())
    return record


@st.composite
def hits(draw: st.DrawFn) -> UsageRecord:
    """An answer that needed no call: from a tier, or shared with another request."""
    labels = draw(st.fixed_dictionaries(_labels))
    tier, saved = draw(st.integers(1, 3)), draw(st.integers(0, 10**12))
    record = hit(draw(_numbers), tier=tier, saved=saved, seconds=draw(_times), reused_usage=draw(usages), **labels)
    if draw(st.booleans()):
        record.cache_tier, record.coalesced = 0, True
        record.savings[0].technique = "coalesced"
    return record


@st.composite
def histories(draw: st.DrawFn) -> list[UsageRecord]:
    """What is true of several requests: every call once, and at most one of them answered."""
    records: dict[tuple[str, str, int], UsageRecord] = {}
    answered: set[tuple[str, str]] = set()
    for record in draw(st.lists(st.one_of(calls(), hits()), max_size=25)):
        request = record.organization_id, record.request_id
        if request in answered:
            record.answered = False
        if (*request, record.attempt) not in records:
            records[*request, record.attempt] = record
            if record.answered:
                answered.add(request)
    return list(records.values())
