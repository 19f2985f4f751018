"""Attributes of a request: texts from SQL, checked against a table and turned into values.

A table is a list of attributes; each knows its default and what it allows. Nothing is evaluated: tuples and lists are
read by a small parser of their own. Every refusal names the attribute, what is allowed and what was given.
"""

import abc
import dataclasses
import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Optional

from ainode.model import ModelError

#: Set by the host in every request of a built-in: the family of the caller's release, "A" (2.0.1) to "H" (2.0.10).
FAMILY_KEY = "ainode_family"

#: From this family on (2.0.8) some defaults are others.
_LATER_FAMILY = "G"
_NONE_WORDS = ("", "none", "null")
_SHOWN_MAX = 80
_LIST_MAX = 10_000
_SAME: Any = object()

_INTEGER = re.compile(r"[+-]?\d{1,18}")
_REAL = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,4})?")


def _show(text: str) -> str:
    """What was given, fit for a message."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN_MAX else flat[:_SHOWN_MAX] + "..."


@dataclasses.dataclass(frozen=True)
class Attribute(abc.ABC):
    """One attribute: name, value when it is not given, and whether the text `none` is a value too."""

    name: str
    default: Any = None
    optional: bool = False
    later: Any = _SAME  # default since 2.0.8, where it differs

    @abc.abstractmethod
    def allowed(self) -> str:
        """What a text may be, as the object of "expect"."""

    @abc.abstractmethod
    def value_of(self, text: str) -> Any:
        """The value; ValueError when the text is not allowed."""

    def parse(self, text: str) -> Any:
        """The value of a text from SQL."""
        stripped = text.strip()
        if self.optional and stripped.lower() in _NONE_WORDS:
            return None
        try:
            return self.value_of(stripped)
        except ValueError:
            suffix = " or none" if self.optional else ""
            raise ModelError(
                f"Attribute {self.name} expect {self.allowed()}{suffix}, got {_show(text)} instead."
            ) from None

    def default_for(self, family: str) -> Any:
        """The default in the release of that family."""
        if self.later is not _SAME and family >= _LATER_FAMILY:
            return self.later
        return self.default


@dataclasses.dataclass(frozen=True)
class Integer(Attribute):
    """A whole number from low to high; only odd ones when odd is set."""

    low: int = 1
    high: int = 5000
    odd: bool = False

    def allowed(self) -> str:
        """See Attribute."""
        return f"{'odd ' if self.odd else ''}value between {self.low} and {self.high}"

    def value_of(self, text: str) -> int:
        """See Attribute."""
        if not _INTEGER.fullmatch(text):
            raise ValueError
        value = int(text)
        if not self.low <= value <= self.high or (self.odd and value % 2 == 0):
            raise ValueError
        return value


@dataclasses.dataclass(frozen=True)
class Real(Attribute):
    """A finite number from low to high."""

    low: float = -1e10
    high: float = 1e10

    def allowed(self) -> str:
        """See Attribute."""
        return f"value between {self.low:g} and {self.high:g}"

    def value_of(self, text: str) -> float:
        """See Attribute."""
        if not _REAL.fullmatch(text):
            raise ValueError
        value = float(text)
        if not self.low <= value <= self.high:
            raise ValueError
        return value


@dataclasses.dataclass(frozen=True)
class Boolean(Attribute):
    """The texts true and false in any case."""

    def allowed(self) -> str:
        """See Attribute."""
        return "true or false"

    def value_of(self, text: str) -> bool:
        """See Attribute."""
        words = {"true": True, "false": False}
        if text.lower() not in words:
            raise ValueError
        return words[text.lower()]


@dataclasses.dataclass(frozen=True)
class Choice(Attribute):
    """One of several words. aliases: other spellings of them."""

    choices: Sequence[str] = ()
    aliases: Sequence[tuple[str, str]] = ()

    def allowed(self) -> str:
        """See Attribute."""
        return f"one of {', '.join(self.choices)}"

    def value_of(self, text: str) -> str:
        """See Attribute."""
        word = dict(self.aliases).get(text, text)
        if word not in self.choices:
            raise ValueError
        return word


@dataclasses.dataclass(frozen=True)
class Letters(Attribute):
    """A non-empty selection of letters, each at most once, in the given order."""

    letters: str = ""

    def allowed(self) -> str:
        """See Attribute."""
        return f"letters of {self.letters} in this order"

    def value_of(self, text: str) -> str:
        """See Attribute."""
        if not text or text != "".join(letter for letter in self.letters if letter in text):
            raise ValueError
        return text


@dataclasses.dataclass(frozen=True)
class Numbers(Attribute):
    """A tuple or list of numbers: `(1, 0, 0)`, `[1, 0, 0]` or `1, 0, 0`. length 0: any number of them."""

    length: int = 0
    low: float = 0
    high: float = 5000
    whole: bool = True

    def allowed(self) -> str:
        """See Attribute."""
        kind = "whole numbers" if self.whole else "numbers"
        count = f"{self.length} " if self.length else ""
        example = ", ".join("1" + "0" * (max(self.length, 3) - 1))
        return f"a list of {count}{kind} between {self.low:g} and {self.high:g}, such as ({example})"

    def value_of(self, text: str) -> tuple[Any, ...]:
        """See Attribute."""
        inner = text
        if (text[:1], text[-1:]) in (("(", ")"), ("[", "]")) and len(text) > 1:
            inner = text[1:-1]
        parts = [part.strip() for part in inner.split(",")]
        if len(parts) > 1 and not parts[-1]:
            parts.pop()  # (1,) as Python writes it
        pattern = _INTEGER if self.whole else _REAL
        if len(parts) > _LIST_MAX or (self.length and len(parts) != self.length):
            raise ValueError
        if not all(pattern.fullmatch(part) for part in parts):
            raise ValueError
        values = tuple((int if self.whole else float)(part) for part in parts)
        if not all(self.low <= value <= self.high and math.isfinite(value) for value in values):
            raise ValueError
        return values


Table = Sequence[Attribute]

_reported: set[str] = set()


def _report_unknown(names: Iterable[str], model: str, table: Table) -> None:
    """Official nodes accept names they do not know, and newer DataNodes send more of them: a log line, once a name."""
    import difflib

    known = [attribute.name for attribute in table]
    for name in names:
        if name in _reported or len(_reported) > 100:
            continue
        _reported.add(name)
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        print(f"model {model} has no attribute {_show(name)}: it is ignored{hint}", file=sys.stderr, flush=True)


def read_options(options: Optional[str]) -> dict[str, str]:
    """The request's options as the host sends them: a JSON object of texts, or nothing."""
    fields = json.loads(options) if options else {}
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise ModelError("the options of the request are not a list of names with texts")
    return fields


class Attributes:
    """The values of one request: every attribute of the table, given or default."""

    def __init__(self, model: str, table: Table, options: Optional[str]) -> None:
        given = read_options(options)
        #: Family letter of the caller's release.
        self.family: str = given.pop(FAMILY_KEY, "E")
        known = {attribute.name: attribute for attribute in table}
        #: Names that were given, the others have their defaults.
        self.given = [name for name in given if name in known]
        unknown = [name for name in given if name not in known]
        if unknown:
            _report_unknown(unknown, model, table)
        self._values: dict[str, Any] = {
            attribute.name: (
                attribute.parse(given[attribute.name])
                if attribute.name in given
                else attribute.default_for(self.family)
            )
            for attribute in table
        }

    def __getitem__(self, name: str) -> Any:
        """The value of an attribute of the table."""
        return self._values[name]

    def select(self, names: Iterable[str]) -> dict[str, Any]:
        """Those attributes as keyword arguments."""
        return {name: self._values[name] for name in names}

    @property
    def later(self) -> bool:
        """TRUE for callers of 2.0.8 and newer."""
        return self.family >= _LATER_FAMILY


def table_rows(table: Table) -> list[tuple[str, str, str]]:
    """Name, default and what is allowed, as the documentation prints them."""
    rows = []
    for attribute in table:
        default = repr(attribute.default) if not isinstance(attribute.default, str) else attribute.default
        if attribute.later is not _SAME:
            default += f" (2.0.8 and newer: {attribute.later})"
        rows.append((attribute.name, default, attribute.allowed() + (" or none" if attribute.optional else "")))
    return rows
