"""What is asked of a stress test, read from a request's body and held to the service's limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeclf.service.config import ServiceConfig
from edgeclf.service.intake import decode_base64
from edgeclf.service.load.ramp import Ramp
from edgeclf.service.problem import Problem

_FIELDS = frozenset({
    "model", "version", "rate", "ramp", "clients", "seconds", "deadline_ms", "images",
})  # fmt: skip
_MOST_DEADLINE_MS = 60_000.0
_CONNECTIONS = 256


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One stress test.

    Attributes:
        model: Who is put under load.
        version: Its version; None for the one that answers for it.
        rate: Requests a second that come whether or not earlier ones are answered; None for none.
        ramp: Lowest and highest rate to find the knee between; None for no ramp.
        clients: That send again as soon as they are answered; None for none.
        seconds: Of each step.
        deadline_ms: An answer after it is late.
        images: Bytes of an image file each; empty for the photo of the model's certificate.
    """

    model: str
    version: str | None = None
    rate: float | None = None
    ramp: tuple[float, float] | None = None
    clients: int | None = None
    seconds: float = 10.0
    deadline_ms: float = 1000.0
    images: tuple[bytes, ...] = ()

    @property
    def most_steps(self) -> int:
        """There are never more."""
        climb = 0 if self.ramp is None else Ramp(*self.ramp, self.deadline_ms).most_steps
        return climb + (self.rate is not None) + (self.clients is not None)

    def entry(self) -> dict[str, Any]:
        """It as JSON types, without the pictures."""
        return {
            "model": self.model, "version": self.version, "rate": self.rate,
            "ramp": None if self.ramp is None else list(self.ramp), "clients": self.clients,
            "seconds": self.seconds, "deadline_ms": self.deadline_ms, "images": len(self.images),
        }  # fmt: skip

    def words(self, connections: int) -> list[str]:
        """The same as arguments of ``edgeclf load``.

        Args:
            connections: That the service takes at once.
        """
        words = ["--seconds", f"{self.seconds:g}", "--deadline-ms", f"{self.deadline_ms:g}"]
        most = max(self.clients or 1, min(_CONNECTIONS, connections // 2))
        words += ["--connections", str(most)]
        if self.clients is not None:
            words += ["--clients", str(self.clients)]
        if self.rate is not None:
            words += ["--rate", repr(self.rate)]
        if self.ramp is not None:
            words += ["--ramp", f"{self.ramp[0]!r}:{self.ramp[1]!r}"]
        return words


def limits(config: ServiceConfig) -> dict[str, Any]:
    """What a service lets a stress test ask for at most, as JSON types."""
    return {
        "rate": config.max_stress_rate,
        "clients": config.max_stress_clients,
        "seconds": config.max_stress_seconds,
        "pictures": config.max_stress_pictures,
        "runs": config.max_stress_runs,
    }


def read_asked(document: object, config: ServiceConfig) -> Asked:
    """Reads the JSON of a request.

    Args:
        document: As it was parsed.
        config: Says how much may be asked.

    Raises:
        Problem: 400; names the field and what it may be.
    """
    if not isinstance(document, dict):
        raise _bad('The JSON is no object; expected one such as {"model": "mugs", "rate": 50}.')
    others = sorted(document.keys() - _FIELDS)
    if others:
        raise _bad(f"There is no field {others[0]!r}; expected {', '.join(sorted(_FIELDS))}.")
    given = {name: value for name, value in document.items() if value is not None}
    rate, clients = config.max_stress_rate, config.max_stress_clients
    for name in ("model", "version"):
        if not isinstance(given.get(name, ""), str):
            raise _bad(f"{name} is no text; expected the name of one that is served.")
    if not given.get("model"):
        raise _bad("No model is named; expected the name of one that is served.")
    asked = Asked(
        model=given["model"],
        version=given.get("version"),
        rate=_number(given, "rate", rate),
        ramp=_ramp(given, rate),
        clients=_whole(given, "clients", clients),
        seconds=_number(given, "seconds", config.max_stress_seconds) or 10.0,
        deadline_ms=_number(given, "deadline_ms", _MOST_DEADLINE_MS) or 1000.0,
        images=_images(given.get("images", []), config.max_stress_pictures),
    )
    if asked.rate is not None and asked.ramp is not None:
        raise _bad("Both a rate and a ramp are given; expected one of the two.")
    if not asked.most_steps:
        raise _bad("Nothing is asked of the service; expected rate, ramp or clients.")
    if asked.most_steps * asked.seconds > config.max_stress_seconds:
        raise _bad(
            f"Up to {asked.most_steps} steps of {asked.seconds:g} s are "
            f"{asked.most_steps * asked.seconds:g} s; this service lets a stress test take "
            f"{config.max_stress_seconds:g}. Ask for shorter steps, or fewer."
        )
    return asked


def _bad(message: str) -> Problem:
    return Problem(400, "bad_stress", message)


def _number(given: Mapping[str, Any], name: str, most: float) -> float | None:
    value = given.get(name)
    return None if value is None else _within(name, value, most)


def _within(name: str, value: object, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (
        math.isfinite(value) and 0 < value <= most
    ):  # fmt: skip
        raise _bad(f"{name} is {value!r}; expected a number above 0, and at most {most:g} here.")
    return float(value)


def _whole(given: Mapping[str, Any], name: str, most: int) -> int | None:
    value = _number(given, name, most)
    if value is None or value.is_integer():
        return None if value is None else int(value)
    raise _bad(f"{name} is {value!r}; expected a whole number from 1 to {most}.")


def _ramp(given: Mapping[str, Any], most: float) -> tuple[float, float] | None:
    value = given.get("ramp")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise _bad("ramp is no pair; expected the lowest and the highest rate, as [20, 400].")
    low, high = (_within("a rate of the ramp", each, most) for each in value)
    if low >= high:
        raise _bad(f"The ramp goes from {low:g} to {high:g}; expected it to rise.")
    return low, high


def _images(value: object, most: int) -> tuple[bytes, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise _bad(f'images is no list of at most {most} pictures, as [{{"b64": "..."}}].')
    return tuple(_decoded(value))


def _decoded(entries: Sequence[Any]) -> list[bytes]:
    found = []
    for entry in entries:
        text = entry.get("b64") if isinstance(entry, dict) else None
        content = decode_base64(text) if isinstance(text, str) else None
        if not isinstance(content, bytes) or not content:
            raise _bad('An image is no base64; expected {"b64": "..."}, an image file.')
        found.append(content)
    return found
