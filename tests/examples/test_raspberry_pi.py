"""examples/raspberry_pi: the memory budget, and the systemd service."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from support.example_scripts import EXAMPLES, UNIT, rows, start
from support.threads import users_environment


def test_the_memory_budget_is_measured_by_phase(model: Path) -> None:
    done = start("raspberry_pi", model, "--memory-mb", 1000)
    assert done.returncode == 0
    *lines, verdict = done.stdout.splitlines()
    figures = [line.removesuffix(" MB").rsplit(maxsplit=1) for line in lines]
    phases = {name: float(value) for name, value in figures}
    assert list(phases) == ["baseline", "imported", "loaded", "first answer", "200 answers"]
    assert 1 < phases["baseline"] < min(phases["imported"], phases["200 answers"])
    assert verdict == "within the budget of 1000 MB"
    done = start("raspberry_pi", model, "--memory-mb", 1)
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == "over the budget of 1 MB"


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(UNIT)
    return parser


def test_the_service_is_hardened_and_bounded() -> None:
    service = dict(unit()["Service"])
    expected = {
        "User": "edgeclf",
        "Restart": "on-failure",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ReadWritePaths": "/srv/edgeclf",
        "PrivateNetwork": "yes",
    }
    assert expected.items() <= service.items()
    assert re.fullmatch(r"\d+M", service["LimitDATA"])
    assert re.fullmatch(r"\d+M", service["MemoryMax"])
    assert re.fullmatch(r"\d+%", service["CPUQuota"])
    assert unit()["Install"]["WantedBy"] == "multi-user.target"


def test_the_services_command_runs(model: Path, inbox: Path, tmp_path: Path) -> None:
    home = tmp_path / "srv"
    home.mkdir()
    inbox.rename(home / "inbox")
    here = {
        "/opt/edgeclf/bin/python": sys.executable,
        "/opt/edgeclf/watch_folder.py": str(EXAMPLES / "watch_folder" / "watch_folder.py"),
        "/opt/edgeclf/model.int8.tflite": str(model),
    }
    words = [
        here.get(word, word.replace("/srv/edgeclf", str(home)))
        for word in shlex.split(unit()["Service"]["ExecStart"])
    ]
    Image.new("1", (6000, 6000)).save(home / "inbox" / "huge.png")  # 144 MB as RGB
    under_its_limit = (
        "import os, resource, sys; limit = int(sys.argv[1]) << 20; "
        "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)); "
        "os.execv(sys.argv[2], sys.argv[2:])"
    )
    limit_mb = unit()["Service"]["LimitDATA"].removesuffix("M")
    subprocess.run(
        [sys.executable, "-c", under_its_limit, limit_mb, *words, "--once", "--interval", "0.05"],
        check=True, capture_output=True, env=users_environment(),
    )  # fmt: skip
    *found, huge = sorted(rows(home / "results.csv"), key=lambda row: row["file"] == "huge.png")
    assert "huge.png as an image" in huge["error"] and huge["label"] == ""
    assert len(found) == len(list((home / "sorted").glob("*/*.jpg"))) > 0
    assert [path.name for path in (home / "inbox").iterdir()] == ["huge.png"]


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/edgeclf/bin/python", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    remarks = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert done.returncode == 0 and remarks == []
