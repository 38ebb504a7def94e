"""What `deploy/` says to Prometheus and Grafana, asked of a real Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from edgeclf.trust.reference import RANGES, histograms
from support import REPOSITORY
from support.services import Listening, artifact, listening, shade, write

DEPLOY = REPOSITORY / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
START_S = 60
TRUST = {
    "temperature": {"value": 1.0, "floor": 1e-6},
    "novelty": {"score": "confidence", "threshold": 0.5},
    "sets": {"score": "plain", "penalty": 0.0, "levels": []},
}
pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="needs Prometheus: apt-get install prometheus",
)


def expressions() -> list[str]:
    """All that the dashboard asks."""
    board = json.loads((DEPLOY / "grafana" / "edgeclf.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("words", [
    ("check", "config", "prometheus.yml"), ("check", "rules", "rules.yml"),
    ("test", "rules", "rules_test.yml"),
])  # fmt: skip
def test_promtool_accepts_it(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *words], cwd=RULES.parent, capture_output=True, text=True, timeout=START_S
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Listening, httpx.Client]]:
    """A service that answers pictures, and a client of a Prometheus that watches it."""
    folder = tmp_path_factory.mktemp("prometheus")
    random = np.random.default_rng(0)
    values = {name: random.uniform(*limits, 400) for name, limits in RANGES.items()}
    reference = histograms(values, random.integers(0, 3, 400), 3)
    made = artifact(trust={**TRUST, "reference": reference})
    with listening(write(folder, made), log=str(folder / "log")) as service:
        with httpx.Client(base_url=service.url) as http:
            for level in [20, 128, 240] * 5:
                http.post("/classify", content=shade(level))
        with prometheus(folder, service.port) as client:
            yield service, client


class prometheus:  # noqa: N801 - a context
    """A Prometheus with the rules of `deploy/`, which looks five times a second."""

    def __init__(self, folder: Path, target: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        config = folder / "prometheus.yml"
        text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
        text = text.replace("15s", "200ms").replace("127.0.0.1:8080", f"127.0.0.1:{target}")
        config.write_text(text.replace("- rules.yml", f"- {RULES}"))
        self.command = [
            "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=error",
        ]  # fmt: skip

    def __enter__(self) -> httpx.Client:
        self.process = subprocess.Popen(self.command, stderr=subprocess.DEVNULL)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/api/v1", timeout=START_S)
        return self.client

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(START_S)


def asked(client: httpx.Client, expression: str) -> list[dict[str, Any]]:
    document = client.get("/query", params={"query": expression}).json()
    assert document["status"] == "success", document
    return list(document["data"]["result"])


def firing(client: httpx.Client) -> set[str]:
    alerts = client.get("/alerts").json()["data"]["alerts"]
    return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}


def until(found: Callable[[], bool]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            if found():
                return
        except (httpx.TransportError, ValueError):  # it is starting, and says so in no JSON
            pass
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def test_it_is_scraped(watched: tuple[Listening, httpx.Client]) -> None:
    _, client = watched
    until(lambda: [e["value"][1] for e in asked(client, 'up{job="edgeclf"}')] == ["1"])
    (found,) = asked(client, "sum(edgeclf_answers_total)")
    assert found["value"][1] == "15"


def test_what_the_dashboard_asks_is_told(watched: tuple[Listening, httpx.Client]) -> None:
    service, client = watched
    until(lambda: bool(asked(client, "edgeclf_ready")))
    told = httpx.get(f"{service.url}/metrics").text
    for expression in expressions():
        asked(client, expression.replace("$__rate_interval", "1m").replace("$instance", ".*"))
        for name in re.findall(r"\bedgeclf_\w+|process_\w+", expression):
            # Neither is told where nothing was refused, or no cgroup has a quota.
            if not name.startswith(("edgeclf_refused", "edgeclf_cpu_")):
                assert re.search(rf"^{name}\b", told, re.MULTILINE), name
    for name in re.findall(r"\bedgeclf_\w+", RULES.read_text()):
        assert re.search(rf"^# TYPE {name.removesuffix('_bucket')} ", told, re.MULTILINE) or (
            name.startswith("edgeclf_cpu_")
        ), name


def test_an_alert_fires_and_clears(watched: tuple[Listening, httpx.Client]) -> None:
    service, client = watched
    version = service.service.catalog.find()
    runtimes: list[Any] = [engine._runtime for engine in version.engines]
    until(lambda: bool(asked(client, "edgeclf_certificate_passed == 1")))
    assert "EdgeclfCertificateFailed" not in firing(client)
    for runtime in runtimes:
        true = type(runtime).run
        runtime.run = lambda images, run=true, of=runtime: run(of, images)[:, ::-1]
    service.wait(service.service.versions.replay(version))
    until(lambda: "EdgeclfCertificateFailed" in firing(client))
    assert asked(client, "edgeclf_ready")[0]["value"][1] == "0"
    for runtime in runtimes:
        del runtime.run
    service.wait(service.service.versions.replay(version))
    until(lambda: "EdgeclfCertificateFailed" not in firing(client))
    assert version.state == "ready"
