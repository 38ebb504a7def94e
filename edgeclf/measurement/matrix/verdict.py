"""The end of a benchmark: what is recommended, and whether its gates are passed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeclf.measurement.matrix.gates import Gates
from edgeclf.measurement.matrix.recommendation import Limits, recommend
from edgeclf.system import files
from edgeclf.system.progress import log


def check_gates(results: dict[str, Any], out: Path, limits: Limits, gates: Gates) -> bool:
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
    log(("recommended: " if recommendation.chosen else "") + recommendation.reason)
    verdict = gates.check(results)
    for note in verdict.notes:
        log(f"note: {note}")
    for failure in verdict.failures:
        log(f"FAILED: {failure}")
    return not verdict.failures and bool(recommendation.chosen or not limits)
