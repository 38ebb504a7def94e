"""Measures several candidates in turns, so that a slow minute of the machine hits all alike."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

from edgeclf.errors import MeasurementError
from edgeclf.measurement.process import measure
from edgeclf.progress import Progress

K = TypeVar("K", bound=Hashable)


def measure_in_turns(
    jobs: Mapping[K, Mapping[str, Any]], *, rounds: int, title: str
) -> tuple[dict[K, list[dict[str, Any]]], dict[K, str]]:
    """Measures each candidate once a round, each time in a fresh process, forwards and backwards.

    Args:
        jobs: For each candidate its job, see `edgeclf.measurement.worker`.
        rounds: How often each is measured.
        title: What goes on, for the progress line, which adds the candidate.

    Returns:
        (the results of each candidate that worked, one a round; why each of the others failed).
    """
    progress = Progress(title, rounds * len(jobs))
    results: dict[K, list[dict[str, Any]]] = {candidate: [] for candidate in jobs}
    errors: dict[K, str] = {}
    for turn in range(rounds):
        for candidate in jobs if turn % 2 == 0 else reversed(list(jobs)):
            if candidate not in errors:
                try:
                    results[candidate].append(measure(dict(jobs[candidate])))
                except MeasurementError as exc:
                    errors[candidate] = str(exc)
                    del results[candidate]
            progress.advance(note=str(candidate))
    return results, errors
