"""Requests and orphans in pages, newest first, of one organisation at a time."""

from asyncio import gather

import pytest

from asahi_billing.domain.ledger import Ledger
from asahi_core.errors import InvalidRequest, NotFound
from services.billing.tests.records import ORGANIZATION, OTHER, call, hit, request_id


async def _requests(ledger: Ledger, size: int) -> list[list[str]]:
    pages, token = [], ""
    while True:
        page, token = await ledger.inferences(ORGANIZATION, size, token)
        pages.append([inference.record.request_id for inference in page])
        if not token:
            return pages


async def test_a_request_is_one_entry_with_the_record_that_answered(ledger: Ledger) -> None:
    failed = call(1, 1, answered=False, error_code="overloaded")
    late = call(1, 3, answered=False, cost_overhead_nanos=10)
    await ledger.record([late, call(1, 2), failed])
    page, token = await ledger.inferences(ORGANIZATION, 0, "")
    assert [inference.record for inference in page] == [call(1, 2)]
    assert page[0].total_cost_nanos == 3 * call().cost_nanos + 10
    assert page[0].calls == 3
    assert token == ""
    assert await ledger.inference(ORGANIZATION, request_id(1)) == page[0]


async def test_a_request_that_nobody_answered_shows_its_last_call(ledger: Ledger) -> None:
    await ledger.record([call(1, n, answered=False, error_code="overloaded") for n in (2, 1)])
    assert (await ledger.inference(ORGANIZATION, request_id(1))).record.attempt == 2


async def test_a_hit_took_no_calls(ledger: Ledger) -> None:
    await ledger.record([hit(1)])
    assert (await ledger.inference(ORGANIZATION, request_id(1))).calls == 0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 1000])
async def test_pages_hold_every_request_once_newest_first(ledger: Ledger, size: int) -> None:
    await ledger.record([call(n, attempt, answered=attempt == 2) for n in range(7) for attempt in (1, 2)])
    pages = await _requests(ledger, size)
    assert [one for page in pages for one in page] == [request_id(n) for n in range(6, -1, -1)]
    assert all(len(page) == size for page in pages[:-1])
    assert pages[-1]


async def test_pages_stay_where_they_are_while_requests_come_in(ledger: Ledger) -> None:
    await ledger.record([call(n) for n in range(10)])
    first, token = await ledger.inferences(ORGANIZATION, 4, "")
    await ledger.record([call(n) for n in range(10, 20)])
    await ledger.record([call(7, 2, answered=False)])
    second, _ = await ledger.inferences(ORGANIZATION, 4, token)
    assert [i.record.request_id for i in (*first, *second)] == [request_id(n) for n in range(9, 1, -1)]


async def test_requests_are_listed_for_their_own_organization_only(ledger: Ledger) -> None:
    await ledger.record([call(1), call(2, organization_id=OTHER)])
    assert await _requests(ledger, 10) == [[request_id(1)]]
    theirs, _ = await ledger.inferences(OTHER, 10, "")
    assert [inference.record.request_id for inference in theirs] == [request_id(2)]


async def test_unknown_and_foreign_requests_are_not_found_in_the_same_words(ledger: Ledger) -> None:
    await ledger.record([call(1, organization_id=OTHER)])
    errors = await gather(*(ledger.inference(ORGANIZATION, request_id(n)) for n in (1, 2)), return_exceptions=True)
    assert [type(error) for error in errors] == [NotFound, NotFound]
    assert str(errors[0]) == str(errors[1])
    assert (await ledger.inference(OTHER, request_id(1))).record.organization_id == OTHER


async def test_orphans_are_listed_newest_first_by_organization_or_all(ledger: Ledger) -> None:
    orphans = [call(n, answered=False, orphan=True, seconds=n // 2) for n in range(6)]
    theirs = call(9, answered=False, orphan=True, organization_id=OTHER, seconds=1.5)
    await ledger.record([call(100), *orphans, theirs])
    found, token = [], ""
    while True:
        page, token = await ledger.orphans(ORGANIZATION, 4, token)
        found += page
        if not token:
            break
    assert found == orphans[::-1]
    everything, _ = await ledger.orphans("", 0, "")
    assert everything == [*orphans[:3:-1], theirs, *orphans[3::-1]]


@pytest.mark.parametrize("token", ["!", "é", "AAAA=", "\0", "_w"])
async def test_a_token_that_was_never_given_out_is_refused(ledger: Ledger, token: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ledger.orphans(ORGANIZATION, 0, token)
    assert refused.value.param == "page_token"


@pytest.mark.parametrize("size", [-1, 1001])
async def test_a_page_has_at_most_a_thousand_entries(ledger: Ledger, size: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ledger.inferences(ORGANIZATION, size, "")
    assert refused.value.param == "page_size"


async def test_figures_need_an_organization(ledger: Ledger) -> None:
    for question in (ledger.inferences("", 0, ""), ledger.inference("", request_id(1))):
        with pytest.raises(InvalidRequest) as refused:
            await question
        assert refused.value.param == "organization_id"
