"""The timer that looks for a model, and what it may touch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeclf.update import add_arguments
from support.deployment import DEPLOY

FOLDER = DEPLOY / "systemd"


def lines(name: str) -> dict[str, str]:
    text = (FOLDER / name).read_text()
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")


def test_the_unit_runs_what_the_verb_takes() -> None:
    import argparse

    command = lines("edgeclf-update.service")["ExecStart"].split()
    assert command[1:4] == ["-m", "edgeclf", "update"]
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    place = parser.parse_args(command[4:]).folder
    assert place == f"/var/lib/{lines('edgeclf-update.service')['StateDirectory']}"


@pytest.mark.parametrize("name", ["edgeclf-update.service", "edgeclf-update.timer"])
def test_systemd_accepts_it(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    for path in FOLDER.glob("edgeclf-update.*"):
        text = path.read_text().replace("/opt/edgeclf/bin/python", sys.executable)
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / name)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    remarks = [line for line in done.stderr.splitlines() if "edgeclf-update" in line]
    assert done.returncode == 0 and remarks == []
