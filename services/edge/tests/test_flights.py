"""A flight: one request under way and those who wait for its answer."""

import asyncio
from contextlib import aclosing

import pytest

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi.type.v1.chat_pb2 import AnswerDelta
from asahi_core.errors import DeadlineExceeded, ProviderError
from asahi_edge.domain.flights import Flight, FlightBoard, Landing, wait_until
from services.edge.tests.flying import settle, soon


async def _read(flight: Flight, deadline: float | None = None) -> str:
    text = ""
    async with aclosing(flight.follow(deadline)) as pieces:
        async for piece in pieces:
            text += piece.text
    return text


def _flight(log: list[str] | None = None) -> Flight:
    flight = Flight(key=b"k", opened_by="r-1")
    if log is not None:
        flight.on_deserted = lambda: log.append("deserted")
        flight.on_boarded_again = lambda: log.append("boarded again")
    return flight


async def test_who_leaves_while_others_wait_deserts_nobody_and_the_last_one_does() -> None:
    log: list[str] = []
    flight = _flight(log)
    flight.board("a")
    flight.board("b")
    flight.leave("a")
    assert log == []
    flight.leave("b")
    assert log == ["deserted"]
    assert flight.deserted


async def test_leaving_twice_or_without_having_boarded_changes_nothing() -> None:
    log: list[str] = []
    flight = _flight(log)
    flight.leave("stranger")
    flight.board("a")
    flight.board("b")
    flight.leave("a")
    flight.leave("a")
    assert log == []


async def test_boarding_a_deserted_flight_saves_it_and_the_first_boarding_says_nothing() -> None:
    log: list[str] = []
    flight = _flight(log)
    flight.board("a")
    flight.leave("a")
    flight.board("b")
    flight.board("c")
    assert log == ["deserted", "boarded again"]


async def test_leaving_after_the_landing_deserts_nothing() -> None:
    log: list[str] = []
    flight = _flight(log)
    flight.board("a")
    flight.land(Landing(CacheEntry()))
    flight.leave("a")
    assert log == []


async def test_late_followers_hear_the_answer_from_its_first_piece_each_at_their_own_pace() -> None:
    flight = _flight()
    early = asyncio.create_task(_read(flight))
    for text in ("for", "ty"):
        flight.add(AnswerDelta(text=text))
        await settle()
    late = asyncio.create_task(_read(flight))
    await settle()
    flight.add(AnswerDelta(text="-two"))
    flight.land(Landing(CacheEntry()))
    after_the_end = asyncio.create_task(_read(flight))
    assert tuple(await soon(asyncio.gather(early, late, after_the_end))) == ("forty-two",) * 3


async def test_pieces_added_in_one_go_are_all_heard() -> None:
    flight = _flight()
    reading = asyncio.create_task(_read(flight))
    await settle()
    for number in range(100):
        flight.add(AnswerDelta(text=f"{number},"))
    flight.fail(ProviderError("The provider is gone."))
    assert (await soon(reading)) == "".join(f"{number}," for number in range(100))


async def test_a_follower_who_leaves_takes_nothing_from_the_others() -> None:
    flight = _flight()
    leaving, staying = (asyncio.create_task(_read(flight)) for _ in range(2))
    await settle()
    leaving.cancel()
    await settle()
    flight.add(AnswerDelta(text="42"))
    flight.land(Landing(CacheEntry()))
    assert await soon(staying) == "42"
    assert leaving.cancelled()


async def test_following_ends_at_the_deadline_and_the_flight_goes_on() -> None:
    flight = _flight()
    flight.add(AnswerDelta(text="4"))
    with pytest.raises(DeadlineExceeded):
        await soon(_read(flight, asyncio.get_running_loop().time() + 0.01))
    assert not flight.ended
    flight.land(Landing(CacheEntry()))
    assert await soon(_read(flight)) == "4"


async def test_a_deadline_that_has_passed_already_ends_the_waiting_at_once_without_cancelling_what_is_waited_for() -> (
    None
):
    flight = _flight()
    with pytest.raises(DeadlineExceeded):
        await soon(wait_until(0.0, flight.end))
    assert not flight.end.cancelled()


async def test_the_first_end_is_the_end() -> None:
    flight = _flight()
    landing = Landing(CacheEntry())
    flight.land(landing)
    flight.fail(ProviderError("Too late."))
    flight.land(Landing(CacheEntry(request_id="other")))
    assert flight.end.result() is landing


async def test_the_board_finds_what_is_listed_until_it_is_removed() -> None:
    board, first, second, nobodys = FlightBoard(), _flight(), _flight(), Flight(key=b"", opened_by="r-3")
    board.list(nobodys)
    assert (len(board), board.find(b"")) == (0, None)
    board.list(first)
    assert board.find(b"k") is first
    board.list(second)
    board.remove(first)
    assert board.find(b"k") is second, "an older flight of the same key takes the newer one off the board"
    board.remove(second)
    board.remove(second)
    assert (len(board), board.find(b"k")) == (0, None)
