"""Runs a service as it is, and tells where its CPU time goes while SIGUSR1 has begun and SIGUSR2 has not ended it.

A statistical profile: a timer of CPU time interrupts the process, and what the main thread is about then is charged
with the CPU time that this thread has used since the interrupt before. Python sees an interrupt between two of its
steps only: what the event loop, gRPC and the kernel do below Python is charged to the step that follows, most of it to
the caller of the library. Other threads of Python are charged likewise, each by its own clock; what is left is that of
threads that know nothing of Python.
"""

import os
import runpy
import signal
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

import msgspec

_EVERY_S = 0.001

Step = tuple[str, str]
"""A function: its module and its qualified name."""


class Samples(msgspec.Struct):
    """Seconds of CPU of one process while it was sampled."""

    main_s: float
    others_s: float
    """Of all threads beside the main thread."""
    stacks: list[tuple[float, list[Step]]]
    """Seconds by what the main thread was about, outermost first."""
    other_stacks: list[tuple[float, list[Step]]]
    """The same of Python's other threads; outermost is the thread's name, with `thread` for a module."""


class _Thread:
    """A thread beside the main thread, and its clock."""

    def __init__(self, ident: int, name: str) -> None:
        self.name = name
        self._clock = time.pthread_getcpuclockid(ident)
        self._seen_s = time.clock_gettime(self._clock)

    def used_s(self) -> float:
        """Since the last call."""
        before, self._seen_s = self._seen_s, time.clock_gettime(self._clock)
        return self._seen_s - before


class _Sampler:
    def __init__(self, to: Path) -> None:
        self._to = to
        self._seconds: defaultdict[tuple[Step, ...], float] = defaultdict(float)
        self._others: defaultdict[tuple[Step, ...], float] = defaultdict(float)
        self._threads: dict[int, _Thread] = {}
        self._thread_s = self._main_s = self._process_s = 0.0

    def begin(self, *_: object) -> None:
        """Clears what there is and starts the timer."""
        self._seconds.clear()
        self._others.clear()
        self._threads = {one.ident: _Thread(one.ident, one.name) for one in threading.enumerate()[1:] if one.ident}
        self._main_s = self._thread_s = time.thread_time()
        self._process_s = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)

    def sample(self, _: int, frame: FrameType | None) -> None:
        """Charges what runs now."""
        now = time.thread_time()
        self._seconds[_stack(frame)] += now - self._thread_s
        frames = sys._current_frames()  # there is no other way to see what other threads are about
        for ident, thread in self._threads.items():
            used_s, at = thread.used_s(), frames.get(ident)
            if used_s > 0 and at is not None:
                self._others[("thread", thread.name), *_stack(at)] += used_s
        self._thread_s = time.thread_time()

    def end(self, *_: object) -> None:
        """Stops the timer and writes what was seen."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        main_s = time.thread_time() - self._main_s
        others_s = time.process_time() - self._process_s - main_s
        stacks = [(seconds, list(stack)) for stack, seconds in self._seconds.items()]
        others = [(seconds, list(stack)) for stack, seconds in self._others.items()]
        written = self._to.with_suffix(".part")
        written.write_bytes(msgspec.json.encode(Samples(main_s, others_s, stacks, others)))
        written.rename(self._to)


def _stack(frame: FrameType | None) -> tuple[Step, ...]:
    """Outermost first."""
    stack: list[Step] = []
    while frame is not None:
        stack.append((frame.f_globals.get("__name__", "?"), frame.f_code.co_qualname))
        frame = frame.f_back
    return tuple(reversed(stack))


def main() -> None:
    """Runs the module that BENCH_SAMPLED_MODULE names; samples go to the file that BENCH_SAMPLES names."""
    assert threading.current_thread() is threading.main_thread()
    module, sampler = os.environ["BENCH_SAMPLED_MODULE"], _Sampler(Path(os.environ["BENCH_SAMPLES"]))
    signal.signal(signal.SIGPROF, sampler.sample)
    signal.signal(signal.SIGUSR1, sampler.begin)
    signal.signal(signal.SIGUSR2, sampler.end)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
