"""The process: what it says, when it is ready, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from support.services import artifact, lying, serving, shade, write


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("models"), artifact())


def test_it_serves_one_file_and_ends_in_good_order(model: Path) -> None:
    with serving(model, "--runtime", "fake", "--drain-s", "1") as running:
        with httpx.Client(base_url=running.url, timeout=20) as http:
            assert http.post("/classify", content=shade(240)).json()["label"] == "bright"
            ready = http.get("/healthz/ready")
            assert ready.status_code == 200
            assert "answered as certified" in ready.json()["versions"][0]["certificate"]
            running.process.send_signal(signal.SIGTERM)
            until = time.monotonic() + 10
            while http.get("/healthz/ready").status_code == 200:
                assert time.monotonic() < until
            # Balancers go on sending for a while after they were told.
            late = http.post("/classify", content=shade(240))
            assert late.status_code == 200 and late.headers["connection"] == "close"
            assert http.get("/healthz/ready").json()["problems"][0]["state"] == "draining"
        assert running.process.wait(20) == 0
        assert not any("Traceback" in line for line in running.lines)


def test_a_second_signal_ends_it_at_once(model: Path) -> None:
    with serving(model, "--runtime", "fake", "--drain-s", "600") as running:
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert running.stop() == 0


def test_ctrl_c_ends_it(model: Path) -> None:
    with serving(model, "--runtime", "fake") as running:
        assert running.stop(signal.SIGINT) == 0


def test_its_figures_are_there_for_prometheus(model: Path) -> None:
    with (
        serving(model, "--runtime", "fake") as running,
        httpx.Client(base_url=running.url, timeout=20) as http,
    ):
        for _ in range(3):
            http.post("/classify", content=shade(20))
        http.post("/classify", content=b"none")
        http.get("/no-such-place")
        text = http.get("/metrics").text
        for line in (
            'edgeclf_requests_total{route="/classify",status="200"} 3.0',
            'edgeclf_requests_total{route="/classify",status="422"} 1.0',
            'edgeclf_requests_total{route="other",status="404"} 1.0',
            'edgeclf_pictures_total{model="shades",version="1"} 3.0',
            'edgeclf_refused_total{code="picture_refused"} 1.0',
            'edgeclf_stage_seconds_count{stage="decode"} 3.0',
            'edgeclf_certificate_passed{model="shades",version="1"} 1.0',
        ):
            assert line in text.splitlines()
        assert "no-such-place" not in text


def test_pictures_of_many_clients_are_not_mixed_up(model: Path) -> None:
    names = {20: "dark", 128: "middle", 240: "bright"}
    wrong: list[object] = []
    with serving(model, "--runtime", "fake") as running:

        def ask(level: int) -> None:
            with httpx.Client(base_url=running.url, timeout=30) as http:
                for _ in range(30):
                    answer = http.post("/classify", content=shade(level)).json()
                    if answer.get("label") != names[level]:
                        wrong.append(answer)

        threads = [threading.Thread(target=ask, args=(level,)) for level in names for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def refused(*words: object) -> tuple[int, str]:
    command = [sys.executable, "-m", "edgeclf", "serve", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_what_cannot_be_served_is_said_in_a_sentence(model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(model.read_bytes()[:-5])
    code, said = refused()
    assert code == 2 and said.startswith("edgeclf: Nothing to serve; give an artifact")
    code, said = refused(damaged, "--port", 0)
    assert code == 2 and "damaged.onnx" in said
    code, said = refused(f"a b={model}", "--port", 0, "--runtime", "fake")
    assert code == 2 and "part of an address" in said
    code, said = refused(model, "--workers", 1000)
    assert code == 2 and "1000 workers" in said
    with serving(model, "--runtime", "fake") as running:
        code, said = refused(model, "--port", running.url.rpartition(":")[2])
        assert code == 2 and "Choose another --port" in said


def test_a_file_that_answers_otherwise_here_is_not_served(tmp_path: Path) -> None:
    path = write(tmp_path, lying(artifact()))
    code, said = refused(path, "--runtime", "fake", "--port", 0)
    assert code == 1 and "does not compute the certified model" in said
