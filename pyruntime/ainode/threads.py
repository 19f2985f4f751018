"""How many threads torch gets for one model: several only where they clearly pay."""

import os
import time
from typing import Any, Callable, Optional

#: What several threads must win to be used: they are taken from other models.
GAIN = 1.3
#: Runs shorter than this are not worth waking threads for, in seconds.
SHORTEST = 0.001
#: Runs longer than this are not tried again: a registration has 45 s for all it does.
LONGEST = 12.0
_ROUNDS = 5
_SECONDS = 1.0  # of measuring with either number, unless the caller has less time
_MOST = 16


def _fastest(work: Callable[[], Any], seconds: float) -> float:
    """Seconds of the fastest of a few runs; the first makes pages and pools, and is enough when it takes long."""
    best = float("inf")
    end = time.perf_counter() + seconds
    for _ in range(1 + _ROUNDS):
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
        if time.perf_counter() > end:
            break
    return best


def choose(work: Callable[[], Any], set_threads: Callable[[int], Any], seconds: Optional[float] = None) -> int:
    """The number of threads for `work`: 1, or all processors of this process when they are GAIN times as fast.

    Leaves it set. Only in a worker: a process that had several threads must not be forked any more.
    seconds: of measuring with either number, about; a run under way is not stopped.
    """
    if seconds is None:
        seconds = _SECONDS
    several = min(len(os.sched_getaffinity(0)), _MOST)
    set_threads(1)
    alone = _fastest(work, seconds)
    if several == 1 or not SHORTEST <= alone <= LONGEST:
        return 1
    set_threads(several)
    if alone >= GAIN * _fastest(work, seconds):
        return several
    set_threads(1)
    return 1
