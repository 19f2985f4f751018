"""The releases of IoTDB that tests run on, and what differs between them as far as tests must know it.

Standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection

EVERY_RUN = ("2.0.1-beta", "2.0.5")
WITH_ALL = ("2.0.10",)
# Further ones, by --release NAME: each takes the tests that are marked for the release it is most like.
MOST_LIKE = {"2.0.2": "2.0.1-beta", "2.0.3": "2.0.1-beta", "2.0.6": "2.0.5", "2.0.7": "2.0.5"}


def number(release: str) -> tuple[int, ...]:
    """To compare releases by; "2.0.1-beta" is (2, 0, 1)."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", release)
    assert found, f"'{release}' is no release"
    return tuple(int(part) for part in found.groups())


def takes(release: str, names: Collection[str]) -> bool:
    """Whether a test that is marked with these releases runs on `release`: it or the one it is most like is named."""
    return release in names or MOST_LIKE.get(release) in names


def has_old_ids(release: str) -> bool:
    """Whether built-in models are called _ARIMA, _NaiveForecaster, ...; such releases list them by themselves."""
    return number(release) < (2, 0, 4)


def is_late(release: str) -> bool:
    """Whether CREATE MODEL is answered when all is done, one column is all that is sent, status numbers are the new
    ones, and the option of CALL INFERENCE is outputLength."""
    return number(release) >= (2, 0, 8)


def calls_inference(release: str) -> bool:
    """Whether CALL INFERENCE works at all: 2.0.6 and 2.0.7 fail before they ask the AINode."""
    return number(release) not in ((2, 0, 6), (2, 0, 7))


def input_argument(release: str) -> str:
    """What the FORECAST table function calls its rows."""
    return "TARGETS" if is_late(release) else "INPUT"
