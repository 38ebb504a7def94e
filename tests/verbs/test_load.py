"""`edgeclf load` on a service of its own process, and on servers that are none of ours."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeclf.cli import main
from support.scripted_server import Reply, scripted
from support.services import Running, artifact, serving, shade, write


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for level in (20, 128, 240):
        (folder / f"{level}.jpg").write_bytes(shade(level))
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    model = write(tmp_path_factory.mktemp("models"), artifact())
    with serving(model, "--runtime", "fake", "--workers", "1") as running:
        yield running


def load(url: str, images: Path, *words: object) -> int:
    return main(["load", url, "--images", str(images), "--seconds", "1", *map(str, words)])


def test_a_service_tells_where_the_time_goes_and_what_it_cost(
    service: Running, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "load.json"
    words = ("--rate", 60, "--clients", 2, "--out", out)
    assert load(f"{service.url}/classify?top=1", images, *words) == 0
    record: dict[str, Any] = json.loads(out.read_text())
    assert record["schema"] == "edgeclf.load/1" and record["is_local"]
    assert record["answered_by"][0]["model"] == "shades"
    assert record["images"]["count"] == 3 and record["knee"] is None
    closed, opened = record["steps"]
    assert (closed["clients"], opened["rate_per_s"]) == (2, 60)
    for step in (closed, opened):
        assert step["offered"] == step["accepted"] > 20 and step["failed"] == 0
        assert all(step["stages_ms"][name] >= 0 for name in ("queue", "decode", "inference"))
        assert step["server"]["source"] == "/metrics"
        assert 0 < step["server"]["cpu_ms_per_request"] < 1000
        assert step["server"]["rss_bytes"] > 10e6
        assert step["machine_cpus_busy"] is None or step["machine_cpus_busy"] > 0
    assert opened["generator"]["connections"] < opened["offered"]  # they are kept
    printed = capsys.readouterr().out
    assert "60/s" in printed and "2 clients" in printed and printed.endswith(f"{out}\n")
    assert "of CPU a request" in printed and "mean ms in client" in printed


def test_a_service_that_is_overrun_refuses_and_the_count_is_right(
    service: Running, images: Path, tmp_path: Path
) -> None:
    with scripted(lambda number, now: Reply(0.01, 503 if number % 2 else 200)) as server:
        out = tmp_path / "load.json"
        assert load(server.url, images, "--rate", 40, "--out", out, "--deadline-ms", 5) == 0
        (step,) = json.loads(out.read_text())["steps"]
    assert abs(step["refused"] - step["offered"] / 2) <= 1
    assert step["late"] == step["accepted"] and step["goodput_per_s"] == 0


def test_a_server_without_metrics_is_looked_at_by_its_process(
    service: Running, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "load.json"
    with scripted() as server:
        words = ("--rate", 20, "--pid", service.process.pid, "--out", out)
        assert load(server.url, images, *words) == 0
    (step,) = json.loads(out.read_text())["steps"]
    assert step["server"]["source"] == "/proc" and step["server"]["rss_bytes"] > 10e6


def test_what_cannot_be_loaded_is_said_at_once(
    service: Running, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error(url: str, *words: object) -> str:
        assert load(url, images, *words) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "Nothing answers" in error("http://127.0.0.1:9/classify", "--rate", 1)
    assert "with the status 404" in error(f"{service.url}/nosuch", "--rate", 1)
    assert "Nothing is asked" in error(f"{service.url}/classify")
    assert "expected FROM:TO" in error(f"{service.url}/classify", "--ramp", "1-2")
    assert "--pid is 999999999" in error(f"{service.url}/classify", "--rate", 1, "--pid", 999999999)
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "Nothing can be written" in error(
        f"{service.url}/classify", "--rate", 1, "--out", folder
    )
    (folder / "large.jpg").write_bytes(bytes(40_000_000))  # more than the service takes
    command = ["load", f"{service.url}/classify", "--images", str(folder), "--rate", "1"]
    assert main(command) == 2 and "with the status 413" in capsys.readouterr().err
    with scripted(lambda number, now: Reply(status=401)) as server:
        assert "a key with --key-file" in error(server.url, "--rate", 1)
    with scripted(lambda number, now: Reply(close="before")) as server:
        assert "gives no answer to a picture" in error(server.url, "--rate", 1)


def test_ctrl_c_prints_what_was_measured(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "load.json"
    with scripted() as server:
        command = [sys.executable, "-m", "edgeclf", "load", server.url, "--images", str(images),
                   "--rate", "50", "--seconds", "300", "--out", str(out)]  # fmt: skip
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            until = time.monotonic() + 60
            while server.looks < 2:  # between the warm-up and the step
                assert time.monotonic() < until and process.poll() is None
                time.sleep(0.05)
            server.restart()
            while len(server.bodies) < 30:
                assert time.monotonic() < until
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            printed, complained = process.communicate(timeout=60)
    assert process.returncode == 130, complained
    assert "50/s" in printed and "Interrupted" in printed and "Traceback" not in complained
    record = json.loads(out.read_text())
    assert record["interrupted"] and record["steps"][0]["accepted"] >= 20
