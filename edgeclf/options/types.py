"""What an option may be: the kinds of values that an annotation stands for, and their ranges."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from edgeclf.errors import OptionError

_WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}
_METAVARS = {int: "N", float: "NUMBER", str: "TEXT"}


@dataclass(frozen=True, kw_only=True)
class Range:
    """Which numbers are allowed; infinity and what is not a number never are.

    Attributes:
        least: The smallest of them.
        above: What all of them exceed.
        most: The largest of them.
        below: What none of them reaches.
    """

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least} to {self.most}"
        words = (("at least", self.least), ("more than", self.above), ("at most", self.most),
                 ("less than", self.below))  # fmt: skip
        return ", ".join(f"{word} {number}" for word, number in words if number is not None)


@dataclass(frozen=True)
class Kind:
    """What an annotation says of a value.

    Attributes:
        item: bool, int, float, str, or the class of a nested config.
        choices: The only values; none where any will do.
        lengths: How many items a value may have, 1 standing for one that is no sequence; none
            where any number will do.
        optional: Whether it may be None.
        is_path: Whether it is a path.
    """

    item: type[Any]
    choices: tuple[str, ...] = ()
    lengths: tuple[int, ...] = (1,)
    optional: bool = False
    is_path: bool = False

    @property
    def is_nested(self) -> bool:
        """Whether the value holds options of its own."""
        return self.item not in _WORDS

    def checked(self, name: str, value: Any, within: Range | None) -> Any:
        """The value as the annotation says it: floats for whole numbers, tuples for lists.

        Args:
            name: The option's.
            value: What it was given.
            within: Which numbers are allowed.

        Raises:
            OptionError: It is of another kind, or out of range.
        """
        if value is None and self.optional:
            return None
        several = isinstance(value, Sequence) and not isinstance(value, str)
        items = list(value) if several and self.lengths != (1,) else [value]
        missing = not several and 1 not in self.lengths
        fits = not missing and (len(items) in self.lengths if self.lengths else bool(items))
        if not fits or not all(map(self._is_item, items)):
            expected = f"{self}, {within}" if within and not self.choices else f"{self}"
            raise OptionError(f"{name} is {value!r}; expected {expected}.")
        if within is not None and not all(item in within for item in items):
            raise OptionError(f"{name} is {value!r}; expected {within}.")
        if self.item in (int, float):
            items = [self.item(item) for item in items]
        return items[0] if len(items) == 1 and 1 in self.lengths else tuple(items)

    def argument(self, metavar: str | None) -> dict[str, Any]:
        """How argparse reads such a value, unless it is a bool.

        Args:
            metavar: What stands for it in the help; of several items, a word each.
        """
        words: dict[str, Any] = {}
        if self.choices:
            words["choices"] = self.choices
        else:
            names = tuple((metavar or ("PATH" if self.is_path else _METAVARS[self.item])).split())
            words["metavar"] = names if names[1:] else names[0]
        if self.item in (int, float):
            words["type"] = self.item
        if self.lengths != (1,):
            words["nargs"] = self.lengths[0] if len(self.lengths) == 1 else "+"
        return words

    def plain(self, value: Any) -> Any:
        """The value as plain JSON types; of a path its last part."""
        if self.is_nested:
            return value.record()
        if self.is_path and value is not None:
            return Path(value).name
        return list(value) if isinstance(value, tuple) else value

    def _is_item(self, item: Any) -> bool:
        if self.choices:
            return item in self.choices
        if self.item in (int, float):
            number = Integral if self.item is int else Real
            is_number = not isinstance(item, bool) and isinstance(item, number)
            return is_number and math.isfinite(item)
        if self.is_path and item == "":  # the current folder for Path, and an unset variable's
            return False
        return isinstance(item, (os.PathLike, str) if self.is_path else self.item)

    def __str__(self) -> str:
        if self.choices:
            *others, last = self.choices
            return f"{', '.join(others)} or {last}" if others else last
        if self.is_nested:
            return f"a {self.item.__name__}"
        one = "a path that is not empty" if self.is_path else _WORDS[self.item]
        several = f"{_WORDS[self.item].partition(' ')[2]}s"
        if not self.lengths:
            return f"a sequence of {several}"
        counts = [one if length == 1 else f"{length} {several}" for length in self.lengths]
        return " or ".join(counts)


def kind_of(annotation: Any) -> Kind:
    """Reads an annotation: bool, int, float, str, a path, `Literal`, tuples, sequences, None.

    Args:
        annotation: Evaluated, not its text.
    """
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (
        annotation,
    )  # fmt: skip
    item: type[Any] = str
    choices: tuple[str, ...] = ()
    lengths: list[int] = []
    optional = is_path = False
    any_length = False
    for member in members:
        origin, within = get_origin(member), get_args(member)
        if member is NoneType:
            optional = True
        elif origin is Literal:
            choices, lengths = within, [*lengths, 1]
        elif origin is os.PathLike:
            is_path = True
        elif origin is tuple and Ellipsis not in within:
            item, lengths = within[0], [*lengths, len(within)]
        elif origin is not None:
            item, any_length = within[0], True
        else:
            item, lengths = member, [*lengths, 1]
    return Kind(item, choices, () if any_length else tuple(lengths), optional, is_path)
