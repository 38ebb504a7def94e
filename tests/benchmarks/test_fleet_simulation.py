"""The simulated fleet, small: what must hold for any number of devices, whatever is drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs sqlalchemy, which is not installed here")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

DEVICES, CANARIES = 200, 10


@pytest.mark.parametrize("staged", [True, False])
def test_no_device_keeps_a_bad_release_and_all_have_a_whole_one(
    staged: bool, tmp_path: Path
) -> None:
    import fleet_simulation as simulation

    played = simulation.play(DEVICES, tmp_path, staged=staged, seed=7)
    seen, bad = played.seen, played.bad
    assert seen.broken == [] and played.halves == 0
    assert bad not in seen.committed
    assert not set(seen.ran.get(bad, ())) & played.failing  # nor ever ran where it fails
    fetched = seen.downloaded[bad]
    if staged:
        assert fetched and all(path.name.startswith("canary") for path in fetched)
        assert seen.reports[202] > CANARIES and set(seen.reports) <= {200, 202}
    else:
        assert len(fetched) > DEVICES / 2 and len(seen.ran[bad]) > DEVICES / 20
    # The faults that it is about were met, and the others got on.
    assert seen.power_cuts > 5 and seen.full_disks > 0
    assert {"away", "VerificationError", "committed"} <= set(seen.outcomes)
    assert played.hours[0] is not None and played.hours[0] < 100
