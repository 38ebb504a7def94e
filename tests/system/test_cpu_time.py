"""Whether others took CPUs while something was timed."""

from __future__ import annotations

from edgeclf.system.cpu_time import cpu_clock, cpus_left, was_busy


def test_how_many_cpus_were_left() -> None:
    assert cpus_left((10.0, 100.0), (14.0, 106.0)) == 1.5
    assert cpus_left(None, (14.0, 106.0)) is None and cpus_left((10.0, 100.0), None) is None
    assert was_busy(1.5, 2) and not was_busy(1.5, 1) and not was_busy(None, 64)


def test_the_clock_goes_forward() -> None:
    before, after = cpu_clock(), cpu_clock()
    assert before is None or (after is not None and after[0] >= before[0])
