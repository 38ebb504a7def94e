"""The end of a benchmark: what is recommended, and whether its gates are passed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeclf import files
from edgeclf.measurement.gates import Gates
from edgeclf.measurement.recommendation import Limits, recommend
from edgeclf.progress import say


def judge(results: dict[str, Any], out: Path, limits: Limits, gates: Gates) -> bool:
    """Adds the recommendation to the results and tells what the gates say of them.

    Args:
        results: As written to `out`, which is written again with the keys ``limits`` and
            ``recommendation``.
        out: Where the results are.
        limits: What the recommended row has to keep.
        gates: What every row has to pass.

    Returns:
        Whether a row keeps the limits, if there are any, and all of them pass the gates.

    Raises:
        OptionError: The results cannot be compared with the baseline.
    """
    recommendation = recommend(results, limits)
    results.update(limits=asdict(limits), recommendation=asdict(recommendation))
    files.write_json(out, results)
    say(("recommended: " if recommendation.chosen else "") + recommendation.reason)
    verdict = gates.check(results)
    for note in verdict.notes:
        say(f"note: {note}")
    for failure in verdict.failures:
        say(f"FAILED: {failure}")
    return not verdict.failures and bool(recommendation.chosen or not limits)
