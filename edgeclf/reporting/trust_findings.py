"""What was found of a calibrated file, whether it holds, and what a person should do with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeclf.metrics.statistics import wilson_interval
from edgeclf.reporting import text
from edgeclf.system.words import counted

Record = Mapping[str, Any]

_CLOSE = 0.05  # a calibration error that nobody needs to mind
_UNCERTAIN = 2.0  # how many times the ends of a temperature's interval may differ
_SURE = 0.9
_ALPHA = 0.025  # how often sets that hold may be said not to, all levels together


@dataclass(frozen=True)
class Finding:
    """One thing that was measured of a file.

    Attributes:
        topic: ``confidence``, ``risk``, ``unknown``, ``sets`` or ``mistakes``.
        holds: Whether it can be relied on; None where the photos do not tell.
        found: What was measured, in sentences.
        advice: What a person should do, in sentences.
    """

    topic: str
    holds: bool | None
    found: str
    advice: str


def findings(result: Record) -> list[Finding]:
    """What was found of one file.

    Args:
        result: An entry of ``results`` in a record of the schema ``edgeclf.trust/1``.
    """
    makers: tuple[Callable[[Record], Finding], ...] = (
        _confidence, _risk, _unknown, _sets, _mistakes
    )  # fmt: skip
    return [make(result) for make in makers]


def photos(result: Record) -> int:
    """How many known photos it was measured on."""
    return int(result["trust"]["data"]["held_out"]["images"])


def wrong(result: Record) -> int:
    """How many of them were answered wrong."""
    return round((1 - float(result["trust"]["held_out"]["top1"])) * photos(result))


def share_of(record: Record, name: str) -> str:
    """A share with its 95 % interval."""
    return f"{text.percent(record[name])} [{text.interval(record[f'{name}_interval_95'])}]"


def _confidence(result: Record) -> Finding:
    before, after = (result["reliability"][name] for name in ("before", "after"))
    temperature = result["trust"]["temperature"]
    found = (
        f"On {photos(result):,} photos that nothing was fitted to, the model's probability is "
        f"{_error(before)} points away from how often it is right, the confidence {_error(after)}. "
        f"The temperature is {text.digits(temperature['value'])} "
        f"[{_ends(temperature['interval_95'])}]: {_direction(temperature['interval_95'])}. It "
        f"rests on {counted(temperature['wrong'], 'wrong answer')} of {temperature['photos']:,}."
    )
    (low, high), (low_before, high_before) = after["interval_95"], before["interval_95"]
    holds = True if high < low_before or high <= _CLOSE else None
    if low > high_before:
        holds = False
    advice = {
        True: "Show confidence to people, and compare thresholds with it, not with the "
        "probability.",
        None: "These photos do not show that confidence is closer to the truth than the "
        "probability: take it for an order, not for a share, and calibrate with more photos.",
        False: "Do not show confidence: the probability is closer. Calibrate again with more "
        "photos of the kind that the device will see.",
    }[holds]
    if _is_uncertain(temperature["interval_95"]):
        advice += (
            " The temperature is uncertain, as wrong answers decide it and there are few: "
            "calibrate again when photos have come in that the file answers wrong."
        )
    return Finding("confidence", holds, found, advice)


def _risk(result: Record) -> Finding:
    points = result["risk_at_coverage"]
    total, all_wrong = photos(result), points[-1][1]
    found = f"When every photo is answered, {text.percent(all_wrong)} of the answers are wrong."
    if not all_wrong:
        return Finding(
            "risk", None, found,
            "No threshold can be chosen here, as nothing was wrong: measure with more, or harder, "
            "photos.",
        )  # fmt: skip
    surest_wrong = result["mistakes"][0]["confidence"]
    clean = [(share, least) for share, _, least in points if least > surest_wrong]
    half = min(points, key=lambda point: abs(point[0] - 0.5))
    if clean:
        share, least = clean[-1]
        found += (
            f" Of the surest {text.percent(share)}, those with a confidence of "
            f"{_threshold(least)} or more, none is; with so few photos up to "
            f"{_at_most(round(share * total))} could be."
        )
        advice = (
            f"Where a wrong answer is dear, let the device answer from {_threshold(least)} on, and "
            "give the rest to a person or to a larger model."
        )
        return Finding("risk", True, found, advice)
    found += f" Of the surest {text.percent(half[0])} still {text.percent(half[1])} are."
    if half[1] < all_wrong:
        return Finding(
            "risk", True, found,
            "A threshold on confidence lowers the share of wrong answers and does not end them: "
            "choose it from the curve, by what a wrong answer and an unanswered photo cost.",
        )  # fmt: skip
    return Finding(
        "risk", False, found,
        "Confidence does not sort wrong answers from right ones here: a threshold gains nothing. "
        "Look at the mistakes first.",
    )  # fmt: skip


def _unknown(result: Record) -> Finding:
    novelty, measured = result["trust"]["novelty"], result["novelty"]
    rate = novelty["false_unknown_rate"]
    found = (
        f"Told by {novelty['score']}, as {novelty['why']}. Of the known photos "
        f"{share_of(measured, 'false_unknown')} are called unknown, {text.percent(rate)} were "
        "asked for."
    )
    kept = measured["false_unknown_interval_95"][0] <= rate
    advice = [] if kept else [
        "More known photos are called unknown than was asked for: calibrate with photos as the "
        "device will see them, or with a lower --rate."
    ]  # fmt: skip
    if "recall" not in measured:
        advice.append(
            "Do not rely on unknown before it was measured: give --unknown a folder with photos "
            "of what the device may also see."
        )
        return Finding("unknown", None if kept else False, found, " ".join(advice))
    least = measured["recall_interval_95"][0]
    found += (
        f" Of the unknown ones {share_of(measured, 'recall')} are recognised (AUROC "
        f"{measured['auroc']:.3f}; 0.5 is chance)."
    )
    if least < 0.5:
        advice.append(
            "It fails on these unknown photos, of which it misses too many: do not rely on "
            "unknown. A class of its own for what else is seen, or another network, may tell it."
        )
    elif least < _SURE <= measured["recall"]:
        advice.append(
            "So few unknown photos leave it open whether many go unnoticed: take unknown for a "
            "warning, and measure with more."
        )
    elif least < _SURE:
        advice.append(
            "A part of what is unknown goes unnoticed: take unknown for a warning, not for a guard."
        )
    else:
        advice.append(
            "Let a person look at what is called unknown; it is what the next training needs."
        )
    return Finding("unknown", kept and least >= 0.5, found, " ".join(advice))


def _sets(result: Record) -> Finding:
    levels = result["sets"]
    if not levels:
        return Finding(
            "sets", None, "There are no sets, as there are too few photos.",
            "Calibrate with more photos; the remarks tell how many.",
        )  # fmt: skip
    held = ", ".join(f"of {_coverage(e)} for {text.percent(e['observed'])}" for e in levels)
    found = (
        f"Sets hold the right label: {held} of the photos. Those of {_coverage(levels[-1])} have "
        f"{levels[-1]['mean_size']:.2f} labels on average."
    )
    allowed = _ALPHA / len(levels)
    failing = [each for each in levels if _chance_of_so_few(each, result) < allowed]
    if failing:
        names = ", ".join(map(_coverage, failing))
        return Finding(
            "sets", False, found,
            f"Do not promise {names}: the photos that it was measured on are harder than those "
            "that it was fitted to. Mix them, and calibrate again.",
        )  # fmt: skip
    advice = (
        "Where a set has one label, act on it; where it has several, take another picture, or let "
        "a person choose among them."
    )
    return Finding("sets", True, found, advice)


def _mistakes(result: Record) -> Finding:
    count, total = wrong(result), photos(result)
    if not count:
        return Finding(
            "mistakes", None, f"All {total:,} photos were answered right.",
            "There is nothing to look at; harder photos would tell more.",
        )  # fmt: skip
    shown = result["mistakes"]
    sure = sum(each["confidence"] >= _SURE for each in shown)
    strange = sum(each["novelty"] > 1 for each in shown)
    found = (
        f"{text.part(count, total, 'photo')} {'is' if count == 1 else 'are'} answered wrong; of "
        f"the {len(shown)} surest of them {sure} with a confidence of at least {_SURE:g}, and "
        f"{strange} called unknown."
    )
    advice = (
        "Look at each. A photo in the wrong folder: move it, and calibrate again. One that nobody "
        "could tell: leave it. A kind that the model has not seen: add other photos of that kind "
        "to those it is trained on, never these."
    )
    return Finding("mistakes", None, found, advice)


def _error(reliability: Record) -> str:
    low, high = (100 * end for end in reliability["interval_95"])
    return f"{100 * reliability['calibration_error']:.1f} [{low:.1f}–{high:.1f}]"


def _direction(interval: Sequence[float]) -> str:
    """What a temperature says of the file as it was."""
    low, high = interval
    if low <= 1 <= high:
        return "whether the file was too sure, or not sure enough, is not shown"
    return f"the file was {'less' if high < 1 else 'more'} sure than it is right"


def _ends(interval: Sequence[float]) -> str:
    return "–".join(map(text.digits, interval))


def _is_uncertain(interval: Sequence[float]) -> bool:
    low, high = interval
    return high > _UNCERTAIN * low


def _threshold(confidence: float) -> str:
    """A confidence with few digits, never below what it stands for, and below 1 where that is."""
    for count in range(3, 10):
        up = math.ceil(round(confidence * 10**count, 6)) / 10**count
        if up < 1:
            return f"{up:.{count}f}"
    return "1"


def _at_most(count: int) -> str:
    """The upper end of the interval of none of so many."""
    return text.percent(wilson_interval(0, count)[1])


def _chance_of_so_few(level: Record, result: Record) -> float:
    """How probable it is that so few sets or fewer hold the right label, if the promise does.

    Of photos that come after n calibration photos, those that the quantile of rank r covers are
    beta-binomial, with r and n + 1 - r (Vovk, "Conditional validity of inductive conformal
    predictors", 2012): both halves vary, not only the one that is counted.
    """
    total, fitted = photos(result), int(result["trust"]["data"]["fitted"]["images"])
    rank = math.ceil(round((fitted + 1) * level["coverage"], 9))
    rest = fitted + 1 - rank
    held = round(level["observed"] * total)
    logs = (
        _log_choose(total, k) + _log_beta(k + rank, total - k + rest) - _log_beta(rank, rest)
        for k in range(held + 1)
    )
    return math.fsum(map(math.exp, logs))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _coverage(level: Record) -> str:
    return f"{100 * level['coverage']:.0f} %"
