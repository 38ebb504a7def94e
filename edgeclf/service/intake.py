"""From a request's address and body to pictures, and to what is wanted of them."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args
from urllib.parse import parse_qsl

from edgeclf.errors import listed
from edgeclf.inference.confidence import Unknown
from edgeclf.service.multipart import read_multipart
from edgeclf.service.problem import Problem

_RAW_TYPES = (
    b"application/octet-stream",
    b"application/x-www-form-urlencoded",  # what curl --data-binary says of a photo
    b"",
)
_MOST_VALUES = 10_000  # of a request whose pictures are base64
_SHAPE = '{"images": [{"b64": "..."}, ...]}'


@dataclass(frozen=True)
class Wanted:
    """What a client asks of the answer.

    Attributes:
        top: Classes at most.
        allow: Labels that may be answered; None for all.
        deny: Labels that may not.
        threshold: The least probability, 0..1.
        coverage: Of the prediction set that is wanted; None for none.
        unknown: As for `Classifier.classify`.
        explain: Whether a map of where the answer came from is wanted.
        explain_label: The class that it is about; None for the most probable one.
        explain_passes: How many passes of the model it may take where one is not enough; None
            refuses it there.
        tensor: Whether the SHA-256 of what the model was given is wanted.
        timeout_s: The client's own deadline; None for the service's.
        rehearsal: Whether the picture tells nothing of the world: it is not watched for drift, not
            kept as a sample, and no new version is judged by it. No query says so.
    """

    top: int = 3
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    threshold: float = 0.0
    coverage: float | None = None
    unknown: Unknown = "flag"
    explain: bool = False
    explain_label: str | None = None
    explain_passes: int | None = None
    tensor: bool = False
    timeout_s: float | None = None
    rehearsal: bool = False


@dataclass(frozen=True)
class Pictures:
    """The pictures of one request, in order.

    Attributes:
        contents: Bytes of an image file each, or why there are none.
        names: What the client calls them; None where it says nothing.
        several: Whether the answer is a list, even of one.
    """

    contents: Sequence[bytes | Problem]
    names: Sequence[str | None]
    several: bool


_DEFAULT = Wanted()


def read_wanted(query: bytes) -> Wanted:
    """Reads the query of an address.

    Raises:
        Problem: 400; names the parameter and what it may be.
    """
    return _read_wanted(query) if query else _DEFAULT


@lru_cache(maxsize=256)  # of a client, it is the same for each picture
def _read_wanted(query: bytes) -> Wanted:
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=10_000,
                          errors="strict")  # fmt: skip
    except ValueError as exc:
        raise Problem(400, "bad_option", f"The query cannot be read: {exc}.") from None
    given: dict[str, Any] = {}
    for key, value in pairs:
        if key not in _PARAMETERS:
            raise Problem(
                400, "bad_option",
                f"There is no parameter {key!r}; expected {', '.join(sorted(_PARAMETERS))}.",
            )  # fmt: skip
        name, read = _PARAMETERS[key]
        if key in ("allow", "deny"):
            given[name] = (*given.get(name, ()), value)
        elif name in given:
            raise Problem(400, "bad_option", f"The parameter {key!r} is given twice.")
        else:
            given[name] = read(key, value)
    return Wanted(**given)


def _number(least: float, most: float) -> Callable[[str, str], float]:
    def read(key: str, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            raise Problem(
                400,
                "bad_option",
                f"{key} is {text!r}; expected a number from {least:g} to {most:g}.",
            )
        return number

    return read


def _whole(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 6 and int(text)):
        raise Problem(400, "bad_option", f"{key} is {text!r}; expected a whole number from 1.")
    return int(text)


def _choice(*choices: str) -> Callable[[str, str], str]:
    def read(key: str, text: str) -> str:
        if text not in choices:
            raise Problem(
                400, "bad_option", f"{key} is {text!r}; expected one of {', '.join(choices)}."
            )
        return text

    return read


def _flag(key: str, text: str) -> bool:
    return _choice("true", "false", "1", "0")(key, text) in ("true", "1")


def _milliseconds(key: str, text: str) -> float:
    return _number(1, 3_600_000)(key, text) / 1e3


_PARAMETERS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "top": ("top", _whole),
    "allow": ("allow", lambda _, text: text),
    "deny": ("deny", lambda _, text: text),
    "threshold": ("threshold", _number(0, 1)),
    "set": ("coverage", _number(0.01, 0.9999)),
    "unknown": ("unknown", _choice(*get_args(Unknown))),
    "explain": ("explain", _flag),
    "explain_label": ("explain_label", lambda _, text: text),
    "explain_passes": ("explain_passes", lambda key, text: int(_number(16, 512)(key, text))),
    "tensor": ("tensor", _flag),
    "timeout_ms": ("timeout_s", _milliseconds),
}


def read_pictures(content_type: bytes, body: bytes, most: int) -> Pictures:
    """Finds the pictures of a body.

    Args:
        content_type: The header's value: of an image or none, ``multipart/form-data``, or
            ``application/json``.
        body: All of it.
        most: Pictures at most.

    Raises:
        Problem: 415 another type, 400 not of the form that its type says, 413 too many pictures.
    """
    kind = content_type.partition(b";")[0].strip().lower()
    if kind in _RAW_TYPES or kind.startswith(b"image/"):
        if not body:
            raise Problem(400, "no_picture", "The body is empty; expected an image file's bytes.")
        return Pictures((body,), (None,), several=False)
    if kind == b"multipart/form-data":
        parts = read_multipart(content_type, body, most)
        if not parts:
            raise Problem(400, "no_picture", "The form holds no files; expected at least one.")
        return Pictures([content for _, content in parts], [name for name, _ in parts], True)
    if kind == b"application/json":
        contents = [_decoded(entry) for entry in _entries(body, most)]
        return Pictures(contents, [None] * len(contents), several=True)
    raise Problem(
        415, "media_type",
        f"The body is {kind.decode('latin-1')!r}; expected an image file (image/jpeg and others), "
        f"multipart/form-data with files, or application/json as {_SHAPE}.",
    )  # fmt: skip


def _entries(body: bytes, most: int) -> list[Any]:
    document = parse_json(body, _MOST_VALUES)
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list) or not images:
        raise Problem(400, "bad_json", f"The JSON is not of the form {_SHAPE}.")
    check_count(len(images), most)
    return images


def parse_json(body: bytes, most_values: int = 2_000_000) -> Any:
    """Reads a body as JSON.

    Args:
        body: All of it.
        most_values: Refused if it may hold more; a few bytes of text become a hundred in memory,
            and reading them stops all else.

    Raises:
        Problem: 400 it is none, or nested too deeply; 413 it holds too much.
    """
    values = sum(body.count(mark) for mark in (b",", b"[", b"{"))
    if values > most_values:
        raise Problem(
            413, "too_many_values",
            f"The JSON holds about {values:,} values; this service takes {most_values:,}.",
        )  # fmt: skip
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as exc:
        reason = "nested too deeply" if isinstance(exc, RecursionError) else exc
        raise Problem(400, "bad_json", f"The body is not JSON: {reason}.") from None


def check_count(count: int, most: int) -> None:
    """Refuses more pictures in one request than the service takes."""
    if count > most:
        raise Problem(
            413, "too_many_pictures",
            f"The request holds {count} pictures; this service takes {most} at once. Send several "
            "requests.",
        )  # fmt: skip


def _decoded(entry: Any) -> bytes | Problem:
    if not isinstance(entry, dict) or set(entry) != {"b64"} or not isinstance(entry["b64"], str):
        keys = listed(map(repr, entry)) if isinstance(entry, dict) else type(entry).__name__
        return Problem(
            400, "no_picture",
            f"An image is given by {keys}; expected {{\"b64\": \"...\"}}, its file in base64. "
            "Addresses are not fetched.",
        )  # fmt: skip
    return decode_base64(entry["b64"])


def decode_base64(text: str | bytes) -> bytes | Problem:
    """The bytes behind base64, or why there are none."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        return Problem(400, "no_picture", f"The picture is not base64: {exc}.")
