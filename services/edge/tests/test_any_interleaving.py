"""Whatever the order in which callers come and leave and calls stream, fail and end: the edge's promises hold."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from asahi_core.errors import (
    AsahiError,
    Cancelled,
    DeadlineExceeded,
    NoModelSatisfies,
    ProviderError,
    ServiceUnavailable,
    UpstreamInterrupted,
)
from asahi_edge.domain.flight_calls import FlightLimits
from asahi_edge.domain.inference import CacheDirectives, InferenceResult
from services.edge.tests.flying import Listener, Rig, Waiting, asked, flying, savings_sum, settle, soon
from services.edge.tests.neighbours import BASELINE, CHEAP, ForeignFlight, ScriptedCompletion, reported, text_of
from services.edge.tests.usage_records import name_of

_ERRORS: tuple[AsahiError, ...] = (
    ServiceUnavailable("It does not answer.", retry_after_s=1.0),
    ProviderError("It was refused."),
    UpstreamInterrupted("It broke off."),
    DeadlineExceeded("The time ran out."),
    NoModelSatisfies("None is that cheap."),
)
STEPS = (
    *("ask", "ask a stream", "ask for no copy", "leave"),
    *("go on", "go on", "go on", "fail", "complete", "break off"),
    *("fly elsewhere", "hear from elsewhere", "finish elsewhere", "fail elsewhere"),
    *("want", "unwant", "detach", "attach", "attach", "forget", "pause", "pause", "pause", "wait"),
)


@dataclass(eq=False)
class _Asked:
    task: "asyncio.Task[InferenceResult] | asyncio.Task[None]"
    caller: Waiting
    listener: Listener | None
    left: bool = False


@dataclass(eq=False)
class _Script:
    """How far the test is with a call."""

    call: ScriptedCompletion
    text: str
    decided: bool = False
    attempts: int = 0
    done: bool = False

    def over(self) -> bool:
        return self.done or self.call.cancelled or self.call.closed


@dataclass(eq=False)
class _Scene:
    rig: Rig
    asked: list[_Asked] = field(default_factory=list)
    scripts: list[_Script] = field(default_factory=list)
    elsewhere: list[ForeignFlight] = field(default_factory=list)
    whole: set[str] = field(default_factory=set)
    """The texts of all answers that were ever whole."""

    async def step(self, name: str, pick: int) -> None:
        self._note_calls()
        match name:
            case "ask" | "ask a stream" | "ask for no copy":
                self._ask(name, pick)
            case "leave":
                self._leave(pick)
            case "go on" | "fail" | "complete" | "break off":
                running = [script for script in self.scripts if not script.over()]
                if running:
                    self._advance(running[pick % len(running)], name, pick)
            case "fly elsewhere":
                self.elsewhere.append(
                    self.rig.cache.fly_elsewhere(f"elsewhere-{len(self.elsewhere)}", known=pick % 4 != 0)
                )
            case "hear from elsewhere" | "finish elsewhere" | "fail elsewhere":
                if self.elsewhere:
                    self._hear(self.elsewhere[pick % len(self.elsewhere)], name, pick)
            case "want" | "unwant":
                if self.rig.cache.led:
                    flight_id = self.rig.cache.led[pick % len(self.rig.cache.led)]
                    (self.rig.leads.want if name == "want" else self.rig.leads.unwant)(flight_id)
            case "pause" | "wait":
                await (settle() if name == "pause" else asyncio.sleep(0.002))
            case _:
                self._change_the_cache(name)

    async def finish(self) -> None:
        """Everything that is under way comes to its end."""
        for _ in range(200):
            await settle()
            self._note_calls()
            for script in self.scripts:
                if not script.over():
                    self._advance(script, "complete", 0)
            for flight in self.elsewhere:
                flight.fail(_ERRORS[2])
            if all(one.task.done() for one in self.asked):
                return
            await asyncio.sleep(0.001)

    def _change_the_cache(self, name: str) -> None:
        if name == "forget":
            self.rig.cache.entries.clear()
            self.rig.near.clear()
        else:
            self.rig.cache.attached = name == "attach"

    def _note_calls(self) -> None:
        for number in range(len(self.scripts), len(self.rig.router.calls)):
            self.scripts.append(_Script(self.rig.router.calls[number], f"[{number}]"))

    def _ask(self, name: str, pick: int) -> None:
        stream = name == "ask a stream"
        directives = CacheDirectives(read=False, write=bool(pick % 2)) if name == "ask for no copy" else None
        request = asked(f"r-{len(self.asked)}", f"Question {pick % 2}", stream=stream, cache=directives)
        caller = Waiting()
        if stream:
            listener = self.rig.listen(request)
            self.asked.append(_Asked(listener.task, caller, listener))
        else:
            self.asked.append(_Asked(self.rig.ask(request, caller), caller, None))

    def _leave(self, pick: int) -> None:
        staying = [one for one in self.asked if not one.left and not one.task.done()]
        if staying:
            one = staying[pick % len(staying)]
            one.left = True
            if one.listener is None and pick % 2:
                one.caller.go()
            else:
                one.task.cancel()

    def _advance(self, script: _Script, name: str, pick: int) -> None:
        call = script.call
        if name == "break off":
            call.break_off(_ERRORS[pick % len(_ERRORS)])
            script.done = True
            return
        if not script.decided:
            script.decided = True
            call.decide(expected_cost_nanos=pick % 2 * 20_000_000)
        if call.attempt is None:
            script.attempts += 1
            call.announce(script.attempts, (CHEAP, BASELINE)[pick % 2])
        match name:
            case "go on":
                script.text += f"{pick},"
                call.say(f"{pick},")
            case "fail":
                if script.text.endswith("]"):  # nothing is retried after the first delta
                    call.fail("provider_error", reported() if pick % 2 else None)
            case "complete":
                said = script.text.partition("]")[2]
                if said:
                    call.say("end")
                whole = f"{said}end" if said else script.text
                self.whole.add(whole)
                call.complete(whole)
                script.done = True

    def _hear(self, flight: ForeignFlight, name: str, pick: int) -> None:
        match name:
            case "hear from elsewhere":
                flight.open()
                flight.say(f"{flight.id} ")
            case "finish elsewhere":
                self.whole.add(flight.id)
                flight.finish(self.rig.entry(flight.id))
            case _:
                flight.fail(_ERRORS[pick % len(_ERRORS)])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1_000)), min_size=30, max_size=80))
def test_nobody_waits_for_ever_or_gets_a_part_for_the_whole_and_every_call_has_one_record(
    steps: list[tuple[str, int]],
) -> None:
    asyncio.run(play([("ask", 0), ("pause", 0), *steps]))


async def play(steps: list[tuple[str, int]]) -> None:
    async with flying(FlightLimits(drain_s=0.002)) as rig:
        scene = _Scene(rig)
        for name, pick in steps:
            await scene.step(name, pick)
        await scene.finish()
        for one in scene.asked:
            assert one.task.done(), "somebody waits for ever"
            _check_what_was_heard(one, scene.whole)
        await _end_flights(rig)
        records = await rig.records()
    calls = [record for record in records if record.attempt]
    announced = Counter(
        ("org-1", script.call.task.request_id, number)
        for script in scene.scripts
        for number in range(1, script.attempts + 1)
    )
    assert Counter(map(name_of, calls)) == announced
    assert set(rig.ledger.seen.values()) <= {1}
    for record in records:
        assert savings_sum(record)
    reused = Counter(record.request_id for record in records if not record.attempt)
    assert set(reused.values()) <= {1}


def _check_what_was_heard(one: _Asked, whole: set[str]) -> None:
    if one.task.cancelled():
        assert one.left
        return
    error = one.task.exception()
    if error is not None:
        assert isinstance(error, AsahiError), error
        assert one.left or not isinstance(error, Cancelled), "a caller who stayed hears that they left"
        return
    result = one.listener.result if one.listener is not None else one.task.result()
    assert result is not None
    assert text_of(result.answer) in whole
    if one.listener is not None and one.listener.text and not one.listener.text.startswith("elsewhere"):
        assert one.listener.text == text_of(result.answer)


async def _end_flights(rig: Rig) -> None:
    """Leaves no call deserted and under way."""
    for call in rig.router.calls:
        call.cancel()
    await soon(rig.pilot.close(30))
