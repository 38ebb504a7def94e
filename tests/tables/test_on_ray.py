"""The same table from a cluster of two nodes, whatever is killed: one cluster for all of it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

import edgeclf
from edgeclf.errors import ServiceError
from edgeclf.tables import on_ray
from edgeclf.tables.work import read_about
from support import REPOSITORY
from support.tables import grey, rows_of

pytest.importorskip("ray.data", reason="needs edgeclf[ray]")

COUNT = 3000
SLOW = """
import time
from edgeclf.runtimes.fake import FakeRuntime

class Runtime(FakeRuntime):
    def run(self, images):
        time.sleep(0.004 * len(images))
        return super().run(images)
"""


@pytest.fixture
def slow_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An engine that takes its time, installed for all processes that are started."""
    site = tmp_path / "site"
    about = site / "slow_runtime-0.dist-info"
    about.mkdir(parents=True)
    (site / "slow_runtime.py").write_text(SLOW)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-runtime\nVersion: 0\n")
    (about / "entry_points.txt").write_text("[edgeclf.runtimes]\nslow = slow_runtime:Runtime\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(REPOSITORY)]))
    return "slow"


@pytest.fixture
def cluster(slow_runtime: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # or it leaves a token in the home folder
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster

        options = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=options)
    yield made
    made.shutdown()


class Driver:
    """`edgeclf bulk --ray` as a process of its own."""

    def __init__(self, words: list[str], table: Path) -> None:
        self.log = table.with_name(f"{time.monotonic_ns()}.log")
        self.parts = table.with_name(f"{table.name}.parts")
        with open(self.log, "wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edgeclf", "bulk", *words], stdout=stream, stderr=stream
            )

    def wait_for_parts(self, more: int) -> None:
        before, end = self.count(), time.monotonic() + 90
        while self.count() < before + more:
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def count(self) -> int:
        return sum(path.name[0] == "0" for path in self.parts.glob("*.parquet"))


def kill_a_worker(cluster: Any) -> None:
    """One of the actors that answer, on whichever node."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"MapWorker(MapBatches(Answering))" in path.read_bytes():
                environment = (path.parent / "environ").read_bytes()
                if b"slow_runtime" in environment or b"/site" in environment:
                    found.append(int(path.parent.name))
        except OSError:
            continue
    os.kill(random.Random(0).choice(found), signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_kills_and_a_lost_node_cost_nothing(
    cluster: Any, slow_runtime: str, model: Path, tmp_path: Path
) -> None:
    folder, table = tmp_path / "photos", tmp_path / "table.parquet"
    folder.mkdir()
    for at in range(COUNT):
        (folder / f"{at:04d}.png").write_bytes(b"broken" if at % 80 == 7 else grey(at % 250))
    other = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    words = [str(folder), "--model", str(model), "--runtime", slow_runtime, "--unverified",
             "--to", str(table), "--ray", cluster.address]  # fmt: skip
    driver = Driver(words, table)
    driver.wait_for_parts(1)
    kill_a_worker(cluster)
    driver.wait_for_parts(1)
    driver.process.kill()
    driver.process.wait()
    again = Driver(words, table)
    again.wait_for_parts(1)
    cluster.remove_node(other, allow_graceful=False)
    assert again.process.wait(120) == 0, again.log.read_text()
    said = again.log.read_text()
    assert "going on behind" in said
    assert "Traceback" not in said and f"{COUNT:,} pictures, of which 38 could not" in said
    found = rows_of(table)
    assert [row["id"] for row in found] == [f"{at:04d}.png" for at in range(COUNT)]
    assert [row["id"] for row in found if row["error"]] == [
        f"{at:04d}.png" for at in range(7, COUNT, 80)
    ]
    about = read_about(table)
    assert about is not None and about["made_by"][0]["ray"]

    unproven = [each for each in words if each != "--unverified"]
    unproven[unproven.index(str(table))] = str(tmp_path / "unproven.parquet")
    refused = Driver(unproven, tmp_path / "unproven.parquet")
    assert refused.process.wait(90) == 2
    said = refused.log.read_text()
    assert "On a node of the Ray cluster: The artifact has no complete certificate" in said
    assert not (tmp_path / "unproven.parquet").exists() and "Traceback" not in said


def test_a_lost_node_is_said_once_even_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # Which of a real cluster's nodes is at work, and when Ray calls it lost, is left to chance.
    looks = [{"a": True, "b": True}, {"a": True, "b": False}, {"a": True, "b": False}]

    class FakeRay:
        def nodes(self) -> list[dict[str, Any]]:
            alive = looks.pop(0) if len(looks) > 1 else looks[0]
            return [
                {"NodeID": name, "NodeManagerAddress": f"10.0.0.{name}", "Alive": value}
                for name, value in alive.items()
            ]

    monkeypatch.setattr(on_ray, "_WATCH_S", 60.0)
    with on_ray._watched(cast(ModuleType, FakeRay())):
        until = time.monotonic() + 10
        while len(looks) == 3:  # until the first look
            assert time.monotonic() < until
            time.sleep(0.01)
    said = capfd.readouterr().err
    assert said.count("the node 10.0.0.b of the Ray cluster is lost; what it had not") == 1
    assert "10.0.0.a" not in said


def test_an_address_where_nothing_is_is_a_sentence(
    model: Path, photos: Path, tmp_path: Path, make: Callable[..., Any]
) -> None:
    started = time.monotonic()
    with pytest.raises(ServiceError, match=r"Cannot use the Ray cluster at 127\.0\.0\.1:9: .*HOST"):
        make(photos, ray="127.0.0.1:9")
    assert time.monotonic() - started < 30
    assert edgeclf.BulkConfig(ray="").ray == ""
