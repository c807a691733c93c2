"""Whatever is appended, acknowledged, cut off and damaged: what was written is delivered, and nothing else."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from hypothesis import given
from hypothesis import strategies as st

from asahi_core.clock import ManualClock
from asahi_edge.stores.frames import Damage, Entry, Kind, decode, encode
from asahi_edge.stores.opening import open_spool
from asahi_edge.stores.spool import DiskSpool, SpoolOptions
from services.edge.tests.usage_records import Name, name_of, usage_record

_MARKER = b"mark"
_OPTIONS = SpoolOptions(segment_bytes=700)
_FEW = st.integers(1, 4)
_STEP = st.tuples(st.sampled_from(["append", "intend", "settle", "deliver"]), _FEW)
_LIFE = st.tuples(st.lists(_STEP, max_size=12), st.integers(0, 60))
"""What a process does until it is killed, and how many bytes of its last write reach the disk."""
_ENTRIES = st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=40)), min_size=1, max_size=8)


@dataclass
class _Expected:
    """What the spool ought to hold, and what billing got."""

    written: list[Name] = field(default_factory=list)
    open: list[Name] = field(default_factory=list)
    delivered: list[Name] = field(default_factory=list)
    requests: int = 0

    async def live(self, spool: DiskSpool, steps: list[tuple[str, int]]) -> None:
        for step, count in steps:
            match step:
                case "append":
                    records = [usage_record(self._request()) for _ in range(count)]
                    spool.append(records)
                    self.written += map(name_of, records)
                case "intend":
                    for _ in range(count):
                        intent = usage_record(self._request())
                        spool.intend(intent)
                        self.open.append(name_of(intent))
                case "settle":
                    records = [intent.record for intent in spool.intents()][-count:]
                    spool.append(records)
                    self.written += map(name_of, records)
                    self.open = [name for name in self.open if name not in self.written]
                case _:
                    batch = await spool.oldest(count)
                    spool.acknowledge(len(batch))
                    self.delivered += map(name_of, batch)

    def _request(self) -> int:
        self.requests += 1
        return self.requests


@given(st.lists(_LIFE, min_size=1, max_size=5))
def test_over_any_lives_and_kills_each_record_is_delivered_once_and_in_order(
    lives: list[tuple[list[tuple[str, int]], int]],
) -> None:
    async def live() -> None:
        expected = _Expected()
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "0"
            for number, (steps, torn) in enumerate(lives, start=1):
                async with open_spool(root, ManualClock(), structlog.get_logger(), _OPTIONS) as spool:
                    assert [name_of(intent.record) for intent in spool.intents()] == expected.open
                    assert spool.appended == len(expected.written) - len(expected.delivered)
                    before = set(root.glob("1/*.log"))
                    await expected.live(spool, steps)
                    root = _as_a_kill_leaves_it(root, Path(folder) / str(number), before, torn)
            async with open_spool(root, ManualClock(), structlog.get_logger(), _OPTIONS) as spool:
                await expected.live(spool, [("deliver", 1000)])
                assert spool.damaged == 0
                assert [name_of(intent.record) for intent in spool.intents()] == expected.open
        assert expected.delivered == expected.written

    asyncio.run(live())


def _as_a_kill_leaves_it(root: Path, copy: Path, before: set[Path], torn: int) -> Path:
    """A copy of the folder as it is now, with the beginning of one more entry at the end of what this process wrote."""
    while not _is_copied_at_once(root, copy):
        shutil.rmtree(copy, ignore_errors=True)
    written = set(root.glob("1/*.log")) - before
    if written:
        newest = max(written)
        with (copy / newest.relative_to(root)).open("ab") as file:
            file.write(encode(bytes.fromhex(newest.stem[-8:]), Kind.RECORD, bytes(60))[:torn])
    return copy


def _is_copied_at_once(root: Path, copy: Path) -> bool:
    """Copies, and says whether the spool removed no file meanwhile: it does so from a thread of its own."""
    there = set(root.rglob("*"))
    try:
        shutil.copytree(root, copy)
    except shutil.Error:
        return False
    return set(root.rglob("*")) == there


@given(_ENTRIES, st.data())
def test_a_log_cut_at_any_byte_holds_exactly_what_was_written_before(
    entries: list[tuple[Kind, bytes]], data: st.DataObject
) -> None:
    frames = [encode(_MARKER, kind, payload) for kind, payload in entries]
    cut = data.draw(st.integers(0, sum(map(len, frames))))
    whole = [entry for i, entry in enumerate(entries) if len(b"".join(frames[: i + 1])) <= cut]
    items = list(decode(b"".join(frames)[:cut], _MARKER, 0))
    assert [(item.kind, item.payload) for item in items if isinstance(item, Entry)] == whole
    assert [item.torn for item in items if isinstance(item, Damage)] in ([], [True])


@given(_ENTRIES, st.data())
def test_damage_costs_the_entries_that_it_hits_and_no_other(
    entries: list[tuple[Kind, bytes]], data: st.DataObject
) -> None:
    frames = [encode(_MARKER, kind, payload) for kind, payload in entries]
    log = bytearray(b"".join(frames))
    hit = data.draw(st.integers(0, len(log) - 1))
    log[hit] ^= data.draw(st.integers(1, 255))
    starts = [len(b"".join(frames[:i])) for i in range(len(frames))]
    unhurt = [e for e, start, f in zip(entries, starts, frames, strict=True) if not start <= hit < start + len(f)]
    items = list(decode(bytes(log), _MARKER, 0))
    assert [(item.kind, item.payload) for item in items if isinstance(item, Entry)] == unhurt
    assert len([item for item in items if isinstance(item, Damage)]) == 1


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_a_payload_cannot_pass_for_an_entry(forged: bytes, payload: bytes) -> None:
    """Where an entry is damaged, a frame inside it that does not know the file's marker stays unread."""
    inner = encode(b"evil", Kind.RECORD, forged)
    log = bytearray(encode(_MARKER, Kind.RECORD, inner) + encode(_MARKER, Kind.RECORD, payload))
    log[4] ^= 1
    items = [item for item in decode(bytes(log), _MARKER, 0) if isinstance(item, Entry)]
    assert [item.payload for item in items] == [payload]
