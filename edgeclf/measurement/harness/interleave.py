"""Measures several candidates in turns, so that a slow minute of the machine hits all alike."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

from edgeclf.errors import MeasurementError
from edgeclf.measurement.harness.process import measure
from edgeclf.measurement.jobs.base import Job
from edgeclf.system.progress import Progress

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


def orders(candidates: Sequence[K], rounds: int) -> Iterator[tuple[K, ...]]:
    """The order of the candidates in each round: forwards or backwards.

    Two rounds make ABBA or BAAB, and which of them comes when follows Prouhet's sequence
    ("Mémoire sur quelques relations entre les puissances des nombres", 1851; also called Thue's
    and Morse's). Between two candidates, a linear drift of the machine cancels out over 2 rounds,
    a quadratic one over 4, a cubic one over 8; and as the sequence has no period, no disturbance
    that comes at regular times keeps hitting the same candidate. It is counted from the end, so
    that dropping the first round does not unbalance the others.

    Args:
        candidates: What is measured.
        rounds: How often each.
    """
    for left in reversed(range(rounds)):
        yield tuple(reversed(candidates)) if left.bit_count() % 2 else tuple(candidates)


def interleave(
    jobs: Mapping[K, Job[R]], *, rounds: int, title: str
) -> Iterator[tuple[K, R | MeasurementError]]:
    """Measures each candidate once a round, each time in a fresh process, in the order of `orders`.

    Args:
        jobs: For each candidate its job.
        rounds: How often each is measured.
        title: What goes on, for the progress line, which adds the candidate.

    Yields:
        (candidate, its result) after every process; or the error with which the candidate failed,
        which then has no more turns.
    """
    progress = Progress(title, rounds * len(jobs))
    failed = set()
    try:
        for candidate in itertools.chain.from_iterable(orders(list(jobs), rounds)):
            if candidate not in failed:
                try:
                    yield candidate, measure(jobs[candidate])
                except MeasurementError as exc:
                    failed.add(candidate)
                    yield candidate, exc
            progress.advance(note=str(candidate))
    finally:
        progress.close()


def measure_interleaved(
    jobs: Mapping[K, Job[R]], *, rounds: int, title: str
) -> tuple[dict[K, list[R]], dict[K, str]]:
    """Takes all turns of `interleave`, whose arguments these are.

    Returns:
        (the results of each candidate that worked, one a round; why each of the others failed).
    """
    results: dict[K, list[R]] = {candidate: [] for candidate in jobs}
    errors: dict[K, str] = {}
    for candidate, result in interleave(jobs, rounds=rounds, title=title):
        if isinstance(result, MeasurementError):
            errors[candidate] = str(result)
            del results[candidate]
        else:
            results[candidate].append(result)
    return results, errors
