"""What a load test may be told."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from edgeclf.errors import OptionError

MOST_RATE = 1e5  # a second; one thread sends no more


@dataclass(frozen=True, kw_only=True)
class LoadConfig:
    """What is asked of a server.

    Attributes:
        rate: Requests a second that come whether or not earlier ones are answered; None for none.
        ramp: Lowest and highest rate to find the knee between; (None, None) to begin below and end
            above what `clients` get; None for no ramp.
        clients: That send again as soon as they are answered; None for none.
        seconds: Of each step.
        deadline_ms: An answer after it is late.
        timeout_s: After which a request is given up.
        connections: Most that are open at once.
        seed: What the times of arrival are drawn from.

    Raises:
        OptionError: A number is out of its range, or nothing is asked.

    Examples:
        >>> from edgeclf import LoadConfig
        >>> LoadConfig(rate=100, seconds=30).deadline_ms
        1000.0
    """

    rate: float | None = None
    ramp: tuple[float | None, float | None] | None = None
    clients: int | None = None
    seconds: float = 10.0
    deadline_ms: float = 1000.0
    timeout_s: float = 10.0
    connections: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        low, high = given.pop("ramp") or (None, None)
        given |= {"the ramp's first rate": low, "the ramp's last rate": high}
        del given["seed"]
        for name, value in given.items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise OptionError(f"{name} is {value}; expected more than 0.")
        if self.rate is None and self.ramp is None and self.clients is None:
            raise OptionError(
                "Nothing is asked of the server; expected --rate R, --ramp [FROM:TO] or "
                "--clients N."
            )
        if self.rate is not None and self.ramp is not None:
            raise OptionError("Both a rate and a ramp are given; expected one of the two.")
        if low is not None and high is not None and low >= high:
            raise OptionError(f"The ramp goes from {low:g} to {high:g}; expected it to rise.")
        highest = max(self.rate or 0, low or 0, high or 0)
        if highest > MOST_RATE:
            raise OptionError(
                f"{highest:g} requests a second are asked; expected at most {MOST_RATE:g}."
            )
        if self.clients is not None and self.clients > self.connections:
            raise OptionError(
                f"{self.clients} clients need as many connections, and there are "
                f"{self.connections}; allow more."
            )
