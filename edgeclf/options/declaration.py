"""Options of a verb, declared once: a frozen dataclass whose fields say what they mean.

    @dataclass(frozen=True, kw_only=True)
    class SortConfig(Options):
        epochs: int = option(5, help="passes over the photos", within=Range(least=1))
        order: Literal["name", "date"] = option("name", help="what decides the order")

    @takes(SortConfig)
    def sort(data: Path, config: SortConfig) -> None: ...

The constructor checks types, choices and ranges. `takes` lets a caller write
``sort("photos", epochs=3)``, with a signature, a docstring and types that say so. `add_arguments`
and `from_arguments` are the same on the command line, and `Options.record` is what an artifact
keeps of it.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, get_type_hints, overload

from edgeclf.options.types import Kind, Range, kind_of

if TYPE_CHECKING:
    import argparse

__all__ = ["Options", "Range", "add_arguments", "from_arguments", "option", "takes"]

T = TypeVar("T")
P = ParamSpec("P")
First = TypeVar("First", contravariant=True)
Second = TypeVar("Second", contravariant=True)
Config = TypeVar("Config", bound="Options")
Ready = TypeVar("Ready", contravariant=True)
Made = TypeVar("Made")
Result = TypeVar("Result", covariant=True)

_DECLARED = "edgeclf option"  # in a field's metadata
_DOC_WIDTH = 100


@dataclass(frozen=True)
class Declared:
    """What `option` was told of a field; see there."""

    help: str
    within: Range | None
    metavar: str | None
    group: str | None
    recorded: bool

    def text(self, *remarks: str) -> str:
        """The help, with the range and other remarks in parentheses."""
        within = () if self.within is None else (str(self.within),)
        noted = "; ".join((*within, *remarks))
        return f"{self.help} ({noted})" if noted else self.help


def option(
    default: T,
    *,
    help: str,
    within: Range | None = None,
    metavar: str | None = None,
    group: str | None = None,
    recorded: bool = True,
) -> T:
    """Declares a field of an `Options` class; its type is the field's annotation.

    An annotation is made of bool, int, float, str, a path, choices (`Literal`), tuples and
    sequences of these, and None; or it is another `Options` class. A bool is False by default.

    Args:
        default: Its value where the user says nothing.
        help: What it means, for the command line and for docstrings; begins in lower case and
            ends without a full stop.
        within: Which numbers are allowed.
        metavar: What stands for the value in the command line's help.
        group: The heading that it stands under there.
        recorded: Whether it decides the result, and so belongs into `Options.record`.
    """
    declared = Declared(help, within, metavar, group, recorded)
    return field(default=default, metadata={_DECLARED: declared})


@dataclass(frozen=True, kw_only=True)
class Options:
    """The base of the classes whose fields are declared by `option`.

    Raises:
        OptionError: A value is of another type than its field, or out of range.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        fields = {k: v for k, v in vars(cls).items() if isinstance(v, dataclasses.Field)}
        if fields and cls.__doc__:  # there is none under python -OO
            lines = _doc_lines((k, v.metadata[_DECLARED]) for k, v in fields.items())
            cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__), "", "Attributes:", *lines])

    def __post_init__(self) -> None:
        for name, (declared, kind) in options_of(type(self)).items():
            value = kind.checked(name, getattr(self, name), declared.within)
            object.__setattr__(self, name, value)

    def record(self) -> dict[str, Any]:
        """What decides the result, as plain JSON types; of a path its last part."""
        return {
            name: kind.plain(getattr(self, name))
            for name, (declared, kind) in options_of(type(self)).items()
            if declared.recorded
        }


_KNOWN: dict[type[Options], dict[str, tuple[Declared, Kind]]] = {}


def options_of(config: type[Options]) -> dict[str, tuple[Declared, Kind]]:
    """Name, declaration and kind of each option, in order."""
    if config not in _KNOWN:
        hints = get_type_hints(config)
        _KNOWN[config] = {
            each.name: (each.metadata[_DECLARED], kind_of(hints[each.name]))
            for each in dataclasses.fields(config)
        }
    return _KNOWN[config]


def add_arguments(parser: argparse.ArgumentParser, config: type[Options]) -> None:
    """Adds a flag for each option of `config`, and of the classes within it."""
    groups: dict[str | None, Any] = {None: parser}
    defaults = {each.name: each.default for each in dataclasses.fields(config)}
    for name, (declared, kind) in options_of(config).items():
        default = defaults[name]
        if kind.is_nested:
            add_arguments(parser.add_argument_group(declared.group), kind.item)  # type: ignore[arg-type]
            continue
        if declared.group not in groups:
            groups[declared.group] = parser.add_argument_group(declared.group)
        words: dict[str, Any] = {"dest": name, "default": default}
        remarks = []
        if kind.item is bool:
            words["action"] = "store_true"
        else:
            words |= kind.argument(declared.metavar)
            if default is not None:
                shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
                remarks.append(f"default: {shown}")
        words["help"] = declared.text(*remarks).replace("%", "%%")
        groups[declared.group].add_argument("--" + name.replace("_", "-"), **words)


def from_arguments(args: argparse.Namespace, config: type[Config]) -> Config:
    """The options given to a parser that `add_arguments` has filled.

    Raises:
        OptionError: They cannot work.
    """
    return config(**{
        name: from_arguments(args, kind.item) if kind.is_nested else getattr(args, name)
        for name, (_, kind) in options_of(config).items()
    })  # fmt: skip


class _Verb(Protocol[First, Ready, P, Result]):
    """A function of one argument and of options, given by keyword or as a ready config."""

    @overload
    def __call__(self, first: First, /, config: Ready) -> Result: ...
    @overload
    def __call__(self, first: First, /, *args: P.args, **kwargs: P.kwargs) -> Result: ...


class _VerbOfTwo(Protocol[First, Second, Ready, P, Result]):
    """The same of two arguments."""

    @overload
    def __call__(self, first: First, second: Second, /, config: Ready) -> Result: ...
    @overload
    def __call__(
        self, first: First, second: Second, /, *args: P.args, **kwargs: P.kwargs
    ) -> Result: ...


class _Takes(Protocol[P, Made]):
    @overload
    def __call__(
        self, function: Callable[[First, Made], Result], /
    ) -> _Verb[First, Made, P, Result]: ...
    @overload
    def __call__(
        self, function: Callable[[First, Second, Made], Result], /
    ) -> _VerbOfTwo[First, Second, Made, P, Result]: ...


def takes(config: Callable[P, Made]) -> _Takes[P, Made]:
    """Lets a function whose last argument is ``config`` take the options as keywords instead.

    In the function's docstring, entries of the options follow that of ``config``.

    Args:
        config: The config's class.

    Returns:
        A decorator. What it returns takes the function's other arguments, and then either a ready
        config or options by keyword. It raises TypeError for an option that there is not, and
        OptionError for a value that cannot work.
    """
    options = cast(type[Options], config)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        *places, _ = inspect.signature(function).parameters

        @functools.wraps(function)
        def verb(*given: Any, **keywords: Any) -> Any:
            if len(given) > len(places):
                given, keywords["config"] = given[:-1], given[-1]
            named = {name: keywords.pop(name) for name in places if name in keywords}
            return function(*given, **named, config=_ready(function.__name__, keywords, options))

        verb.__doc__ = _with_options(function.__doc__ or "", options)
        verb.__signature__ = _signature(function, options)  # type: ignore[attr-defined]
        return verb

    return cast(_Takes[P, Made], decorate)


def _ready(verb: str, keywords: dict[str, Any], config: type[Options]) -> Options:
    """The config among the keywords, or one that is made of them."""
    known = options_of(config)
    if "config" in keywords:
        ready = keywords.pop("config")
        if keywords or not isinstance(ready, config):
            raise TypeError(
                f"{verb}() got config {ready!r}{' and ' if keywords else ''}"
                f"{', '.join(keywords)}; expected a {config.__name__} alone, or options by keyword."
            )
        return ready
    for name in keywords:
        if name not in known:
            raise TypeError(f"{verb}() takes no {name!r}; {_advice(name, known)}")
    return config(**keywords)


def _advice(name: str, known: dict[str, tuple[Declared, Kind]]) -> str:
    from difflib import get_close_matches  # needed only here

    for outer, (_, kind) in known.items():
        if kind.is_nested and name in options_of(kind.item):
            return f"write {outer}={kind.item.__name__}({name}=...)."
    if near := get_close_matches(name, known, 1):
        return f"did you mean {near[0]!r}?"
    return f"expected {', '.join(known)}."


def _signature(function: Callable[..., Any], config: type[Options]) -> inspect.Signature:
    own = inspect.signature(function)
    *places, last = own.parameters.values()
    ready = last.replace(default=None, annotation=f"{config.__name__} | None")
    keywords = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=each.type,
        )
        for each in dataclasses.fields(config)
    ]
    return own.replace(parameters=[*places, ready, *keywords])


def _with_options(doc: str, config: type[Options]) -> str:
    """The docstring with the options, as keywords, after the entry of ``config``."""
    doc = inspect.cleandoc(doc)
    entry = re.search(r"^    config: .*\n(?: {8,}.*\n)*", doc, re.MULTILINE)
    if entry is None:  # there is none under python -OO
        return doc
    lines = _doc_lines((each.name, each.metadata[_DECLARED]) for each in dataclasses.fields(config))
    return doc[: entry.end()] + "\n".join(lines) + "\n" + doc[entry.end() :]


def _doc_lines(options: Iterable[tuple[str, Declared]]) -> list[str]:
    """Entries of a docstring's section."""
    from textwrap import wrap

    return [
        line
        for name, declared in options
        for text in [declared.text()]
        for line in wrap(
            f"{name}: {text[0].upper()}{text[1:]}.",
            width=_DOC_WIDTH - 4,
            initial_indent=" " * 4,
            subsequent_indent=" " * 8,
            break_long_words=False,
        )
    ]
