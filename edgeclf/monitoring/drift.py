"""Whether pictures have changed since a file was calibrated: a test that may be looked at any time.

A conformal test martingale for each signal. Each picture's value gets a p-value among those of the
reference and of all pictures before it (smoothed where values are equal); as long as they are
exchangeable with the reference these are independent and uniform, however small the reference is.
A capital of 1 bets that they are not. By Ville's inequality it reaches 1 / alpha with probability
alpha at most, at any time: no window, and no correction for how often somebody looks.

After Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2nd ed. 2022);
Volkhonskiy et al., "Inductive Conformal Martingales for Change-Point Detection" (2017); and, for
the capital that moves between bets, Herbster and Warmuth, "Tracking the Best Expert" (1998).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import numpy as np

_BLOCK = 16  # pictures that are judged together, which costs a fraction of one after another
_REST = 0.15  # share of the capital that does not bet, so that a long quiet time leaves some
# Share that moves between bets with the n-th picture: _MOVES / (n + _SOON). Falling, so that what
# is lost to moving in a hundred thousand quiet pictures is a power of their number.
_MOVES, _SOON = 0.5, 500
# r, h and share of the capital of each bet: that the p-value is below r, h times as often as it
# should be. Most is on what one wants to know first: that what was a tenth has doubled.
_BETS = (
    (0.03, 2.5, 0.15), (0.1, 1.4, 0.15), (0.1, 2.0, 0.4), (0.3, 1.4, 0.15), (0.3, 1.9, 0.15),
)  # fmt: skip


class Signal(NamedTuple):
    """What is watched.

    Attributes:
        source: The name of its values in the reference.
        alarming: ``high``, ``low`` or ``both``: which values are news.
        share: Of the probability of a false alarm that all signals may have together.
        bins: Into which the reference's are merged; 0 leaves them.
    """

    source: str
    alarming: str
    share: float
    bins: int = 0


_SIGNALS = {
    "unknown": Signal("novelty", "high", 0.5, bins=2),  # novelty up to 2, and above 1 is unknown
    "novelty": Signal("novelty", "high", 1 / 12),
    "confidence": Signal("confidence", "low", 1 / 12),
    "margin": Signal("margin", "low", 1 / 12),
    "brightness": Signal("brightness", "both", 1 / 12),
    "contrast": Signal("contrast", "both", 1 / 12),
    "sharpness": Signal("sharpness", "both", 1 / 12),
}


@dataclass(frozen=True)
class Alarm:
    """When a signal's capital reached its limit.

    Attributes:
        picture: The how-manieth picture of the stream it was.
        at: Seconds since 1970, by this machine's clock.
    """

    picture: int
    at: float


class _Counts:
    """How often each bin was met, in the reference and since."""

    def __init__(self, signal: Signal, entry: Mapping[str, Any]) -> None:
        counts = [int(count) for count in entry["counts"]]
        if min(counts) < 0 or not sum(counts):
            raise ValueError(f"counts {counts}")
        if signal.bins:
            size = len(counts) // signal.bins
            counts = [sum(counts[i * size : (i + 1) * size]) for i in range(signal.bins)]
        self.source, self.down = signal.source, signal.alarming == "low"
        self.low = float(entry["low"])
        self.scale = len(counts) / (float(entry["high"]) - self.low)
        self.reference, self.counts, self.total = counts, list(counts), sum(counts)

    def p_value(self, value: float, theta: float) -> float:
        """Counts a value, and says how rare one so extreme is: uniform while nothing changes."""
        counts = self.counts
        index = min(max(int((value - self.low) * self.scale), 0), len(counts) - 1)
        counts[index] += 1
        self.total += 1
        beyond = sum(counts[:index] if self.down else counts[index + 1 :])
        return (beyond + theta * counts[index]) / self.total


class Drift:
    """The test, of one model's pictures from the first that it saw. For one thread.

    Args:
        reference: The artifact's ``trust.reference``.
        alpha: The probability that any signal ever gives a false alarm.
        random: Breaks ties between equal values; the answers must not depend on it.

    Raises:
        KeyError, TypeError, ValueError: The reference is not what the format says.
    """

    def __init__(
        self, reference: Mapping[str, Any], *, alpha: float = 0.01, random: Random | None = None
    ) -> None:
        signals = {n: s for n, s in _SIGNALS.items() if s.source in reference}
        self.names = tuple(signals)
        self.limits = tuple(-math.log10(alpha * each.share) for each in signals.values())
        self.pictures = 0
        self.alarms: dict[str, Alarm] = {}
        self._random = (random or Random()).random
        self._counts = [_Counts(s, reference[s.source]) for s in signals.values()]
        self._waiting: list[list[float]] = []
        bets = [(0.5, 1.0, 0), *((r, h, tail) for tail in (0, 1) for r, h, _ in _BETS)]
        self._r, self._h, tails = np.array(bets).T
        self._otherwise = (1 - self._r * self._h) / (1 - self._r)
        self._high = tails == 1
        self._prior = np.array([_prior(each) for each in signals.values()])
        self._weights = self._prior.copy()
        self._log10 = np.zeros(len(signals))
        self._peaks = np.zeros(len(signals))
        self._seen = np.zeros(len(signals))

    def add(self, values: Mapping[str, float | None], at: float = 0.0) -> None:
        """Takes the next picture.

        Args:
            values: Of the reference's names, those that are known of it; what is None or no finite
                number is passed over.
            at: When it came, in seconds since 1970, for who reads of an alarm.
        """
        row = []
        for counts in self._counts:
            value = values.get(counts.source)
            known = value is not None and math.isfinite(value)
            row.append(counts.p_value(value, self._random()) if known and value is not None
                       else math.nan)  # fmt: skip
        self._waiting.append(row)
        self.pictures += 1
        if len(self._waiting) == _BLOCK:
            self.settle(at)

    def settle(self, at: float = 0.0) -> None:
        """Judges the last few pictures, which wait for others until somebody looks."""
        if not self._waiting:
            return
        p = np.array(self._waiting)
        known = ~np.isnan(p)
        p = p[:, :, np.newaxis]
        hit = np.where(self._high, 1 - p, p) < self._r
        factors = np.where(hit, self._h, self._otherwise)
        factors[~known] = 1
        grown = np.cumprod(factors, axis=0) * self._weights
        capital = self._log10 + np.log10(grown.sum(axis=2))
        self._note_alarms(capital, at)
        self._peaks = np.maximum(self._peaks, capital.max(axis=0))
        self._log10 = capital[-1]
        weights = grown[-1] / grown[-1].sum(axis=1, keepdims=True)
        met = known.sum(axis=0)
        self._seen += met
        moved = (_MOVES * met / (self._seen + _SOON))[:, np.newaxis]
        self._weights = (1 - moved) * weights + moved * self._prior
        self._waiting.clear()

    def _note_alarms(self, capital: np.ndarray[Any, Any], at: float) -> None:
        over = capital >= self.limits
        if not over.any():
            return
        first = self.pictures - len(capital) + 1
        for index in np.flatnonzero(over.any(axis=0)):
            picture = first + int(over[:, index].argmax())
            self.alarms.setdefault(self.names[index], Alarm(picture, at))

    def report(self) -> dict[str, dict[str, Any]]:
        """Of each signal: log10 of its capital now and at most, and of its limit, and its alarm."""
        self.settle()
        return {
            name: {
                "log10_capital": float(self._log10[index]),
                "log10_most": float(self._peaks[index]),
                "log10_limit": self.limits[index],
                "pictures": int(self._seen[index]),
                "reference_pictures": sum(self._counts[index].reference),
                "alarm": None if name not in self.alarms else vars(self.alarms[name]).copy(),
            }
            for index, name in enumerate(self.names)
        }

    def state(self) -> dict[str, Any]:
        """All that it knows, as JSON can say it."""
        self.settle()
        signals = {
            name: {
                "reference": counts.reference,
                "counts": counts.counts,
                "weights": self._weights[index].tolist(),
                "log10_capital": float(self._log10[index]),
                "log10_most": float(self._peaks[index]),
                "seen": int(self._seen[index]),
                "alarm": None if name not in self.alarms else vars(self.alarms[name]).copy(),
            }
            for index, (name, counts) in enumerate(zip(self.names, self._counts, strict=True))
        }
        return {"pictures": self.pictures, "signals": signals}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave, by the same reference.

        Raises:
            KeyError, TypeError, ValueError: It is of another test, or damaged; nothing is changed.
        """
        pictures, entries = int(state["pictures"]), [state["signals"][n] for n in self.names]
        weights = np.array([entry["weights"] for entry in entries], float)
        levels = np.array(
            [[e["log10_capital"], e["log10_most"], e["seen"]] for e in entries], float
        )
        sums = weights.sum(axis=1)
        good = weights.shape == self._prior.shape and (weights >= 0).all() and pictures >= 0
        if not good or not np.allclose(sums, 1) or not np.isfinite(levels).all():
            raise ValueError("the bets are damaged")
        found = [[int(count) for count in entry["counts"]] for entry in entries]
        for counts, entry, stream in zip(self._counts, entries, found, strict=True):
            same = len(stream) == len(counts.reference) and entry["reference"] == counts.reference
            if not same or any(s < r for s, r in zip(stream, counts.reference, strict=True)):
                raise ValueError("the counts are damaged, or of another reference")
        alarms = {n: Alarm(int(e["alarm"]["picture"]), float(e["alarm"]["at"]))
                  for n, e in zip(self.names, entries, strict=True) if e["alarm"]}  # fmt: skip
        for counts, stream in zip(self._counts, found, strict=True):
            counts.counts, counts.total = stream, sum(stream)
        self.pictures, self.alarms = pictures, alarms
        self._weights, (self._log10, self._peaks, self._seen) = weights, levels.T.copy()


def _prior(signal: Signal) -> list[float]:
    """How the capital is shared out at first: some rests, the rest bets, on one tail or on both."""
    tails = (0.5, 0.5) if signal.alarming == "both" else (1.0, 0.0)
    return [_REST, *((1 - _REST) * tail * share for tail in tails for _, _, share in _BETS)]
