"""The service on Ray Serve: a real one, which is started once for all that is asked of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeclf.errors import OptionError
from edgeclf.service.config import ServiceConfig
from edgeclf.service.keys import add_key
from edgeclf.service.ray_cluster import RayConfig, cluster
from edgeclf.service.ray_replica import reason_of
from edgeclf.service.ray_service import AHEAD, check_options
from edgeclf.system.cpu import available_cpus
from support.optional import lacks
from support.services import Running, artifact, client, serving, shade, slow_runtime, write

REPLICAS = min(2, available_cpus())
QUEUE = 31
IN_HANDS = 1 + AHEAD  # requests that a replica of one worker takes at a time
WAIT_S = 0.15
RAY_START_S = 240  # alone it takes 15
_MARK = "EDGECLF_TEST_RAY"
needs_ray = pytest.mark.skipif(lacks("ray"), reason="needs ray, which is not installed here")


@pytest.fixture
def mark() -> str:
    """In the environment of all that Ray starts, by which it is found."""
    return uuid.uuid4().hex


@pytest.fixture
def running(tmp_path: Path, mark: str) -> Iterator[Running]:
    slow = slow_runtime(tmp_path / "plugin", WAIT_S)
    words = ("--runtime", "slow", "--ray", "--replicas", REPLICAS, "--queue", QUEUE,
             "--drain-s", 2)  # fmt: skip
    env = {**slow, _MARK: mark}
    # Ray ends a proxy that is not ready within five seconds, which it is not on a busy machine.
    env = {**env, "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
    with serving(write(tmp_path, artifact()), *words, env=env, start_s=RAY_START_S) as made:
        try:
            yield made
        finally:
            if made.process.poll() is None:
                made.stop(signal.SIGINT)


@needs_ray
def test_a_service_on_ray(running: Running, mark: str, tmp_path: Path) -> None:
    # In one test, as Ray takes longer to start than all of it.
    check_that_every_route_answers_as_without_ray(running, next(tmp_path.glob("*.onnx")))
    check_that_changes_of_one_replica_are_refused(running)
    check_that_more_than_fits_is_told_to_ask_again(running)
    check_that_answers_go_on_when_a_replica_is_killed(running, mark)
    check_that_it_ends_in_good_order(running, mark)


HTTP = httpx.Client(timeout=30, limits=httpx.Limits(max_connections=200))  # for all threads


def ask(url: str, level: int = 240) -> httpx.Response:
    return HTTP.post(f"{url}/classify", content=shade(level))


def started(mark: str) -> dict[int, str]:
    """What runs with that mark, by its number."""
    found = {}
    wanted = f"{_MARK}={mark}".encode()
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and wanted in (path / "environ").read_bytes().split(b"\0"):
                words = (path / "cmdline").read_bytes().decode(errors="replace")
                found[int(path.name)] = words.replace("\0", " ").strip()
        except OSError:
            continue
    return {pid: words for pid, words in found.items() if words}


def check_that_every_route_answers_as_without_ray(running: Running, file: Path) -> None:
    form = [("a", ("a.jpg", shade(20))), ("b", ("b.jpg", shade(128)))]
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/classify", {"content": shade(240)}),
        ("POST", "/classify?top=1", {"content": shade(20)}),
        ("POST", "/classify", {"files": form}),
        ("POST", "/classify", {"json": {"images": [{"b64": "bm9uZQ=="}]}}),
        ("POST", "/classify", {"content": b"no picture"}),
        ("POST", "/classify?top=none", {"content": shade(20)}),
        ("GET", "/classify", {}),
        ("GET", "/v2", {}),
        ("GET", "/v2/models/shades", {}),
        ("GET", "/v2/health/live", {}),
        ("GET", "/v2/health/ready", {}),
        ("GET", "/v1/models/shades/metadata", {}),
        ("GET", "/docs", {}),
        ("GET", "/no-such-place", {}),
    ]  # fmt: skip
    with client(file, workers=1, queue=QUEUE) as alone:
        for method, path, more in asked:
            expected = alone.request(method, path, **more)
            found = HTTP.request(method, running.url + path, **more)
            assert found.status_code == expected.status_code, path
            assert found.headers["content-type"] == expected.headers["content-type"]
            assert plain(found) == plain(expected), path
            assert len(found.headers.get_list("x-request-id")) == 1


def plain(response: httpx.Response) -> Any:
    """An answer without what differs from one to the next."""
    if response.headers["content-type"] != "application/json":
        return response.text
    document = response.json()
    entries = [document, *document.get("answers", [])] if isinstance(document, dict) else []
    for entry in entries:
        for key in ("request_id", "timing", "runtime"):
            entry.pop(key, None)
    return document


def check_that_changes_of_one_replica_are_refused(running: Running) -> None:
    for path in ("/v2/repository/models/shades/unload", "/admin/models/shades/unload"):
        response = HTTP.post(running.url + path)
        assert response.status_code == 501 and response.json()["code"] == "not_with_ray"


def check_that_more_than_fits_is_told_to_ask_again(running: Running) -> None:
    fits = REPLICAS * IN_HANDS + QUEUE
    with ThreadPoolExecutor(3 * fits) as pool:
        found = list(pool.map(ask, [running.url] * 3 * fits))
    counts = Counter(each.status_code for each in found)
    assert set(counts) == {200, 503} and counts[200] >= fits, counts
    for each in found:
        if each.status_code == 503:
            assert int(each.headers["retry-after"]) >= 1
        else:
            assert each.json()["label"] == "bright"


def check_that_answers_go_on_when_a_replica_is_killed(running: Running, mark: str) -> None:
    replicas = [pid for pid, words in started(mark).items() if "ServeReplica" in words]
    assert len(replicas) == REPLICAS
    with ThreadPoolExecutor(4 * REPLICAS) as pool:
        before = [pool.submit(ask, running.url) for _ in range(4 * REPLICAS)]
        time.sleep(WAIT_S / 2)
        os.kill(replicas[0], signal.SIGKILL)
        lost = sum(each.result().status_code != 200 for each in before)
    assert lost <= IN_HANDS, lost
    until = time.monotonic() + 40
    if REPLICAS == 1:
        while ask(running.url).status_code != 200:
            assert time.monotonic() < until
    assert [ask(running.url).status_code for _ in range(12)] == [200] * 12


def check_that_it_ends_in_good_order(running: Running, mark: str) -> None:
    assert HTTP.get(f"{running.url}/healthz/ready").status_code == 200
    running.process.send_signal(signal.SIGTERM)
    until = time.monotonic() + 10
    while HTTP.get(f"{running.url}/healthz/ready").status_code == 200:
        assert time.monotonic() < until
    # Balancers go on sending for a while after they were told.
    assert ask(running.url).status_code == 200
    assert running.process.wait(30) == 0
    assert not any("Traceback" in line or "***" in line for line in running.lines)
    until = time.monotonic() + 15
    while started(mark) and time.monotonic() < until:
        time.sleep(0.1)
    assert started(mark) == {}


def test_what_each_replica_would_do_for_itself_is_refused(tmp_path: Path) -> None:
    check_options(ServiceConfig(queue=40, deadline_s=2))
    with pytest.raises(OptionError, match=r"--models, --watch, --sample-to cannot be with --ray"):
        check_options(ServiceConfig(models="m", watch_s=1, sample_to="s"))
    keys = tmp_path / "keys.txt"
    add_key(keys, "free")
    check_options(ServiceConfig(keys=str(keys)))
    add_key(keys, "slow", rate=2)
    with pytest.raises(OptionError, match=r"limits the rate of slow"):
        check_options(ServiceConfig(keys=str(keys)))


def test_numbers_and_addresses_that_cannot_be_are_refused() -> None:
    for least, most in ((0, 1), (3, 2)):
        with pytest.raises(OptionError, match="LEAST:MOST"):
            RayConfig("auto", least, most)
    many = 10 * available_cpus()
    with pytest.raises(OptionError, match="this process may use"), cluster(
        RayConfig("local", 1, many), ServiceConfig(workers=1)
    ):  # fmt: skip
        pass
    with pytest.raises(OptionError, match="client protocol"), cluster(
        RayConfig("ray://there:10001"), ServiceConfig(workers=1)
    ):  # fmt: skip
        pass


def refused(*words: object) -> tuple[int, str]:
    command = [sys.executable, "-m", "edgeclf", "serve", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_the_verb_says_what_is_meant(tmp_path: Path) -> None:
    file = write(tmp_path, artifact())
    for words, expected in (
        (("--replicas", 2), "--replicas has no effect without --ray"),
        (("--ray", "--replicas", "many"), "--replicas is 'many'"),
        (("--ray", "--log", "x.log"), "--log cannot be with --ray"),
    ):
        code, said = refused(file, *words)
        assert code == 2 and expected in said


def test_a_traceback_of_ray_s_is_read_for_our_sentence() -> None:
    text = (
        'ray::ServeReplica:edgeclf\n  File "x.py", line 3\n    raise y\n'
        "edgeclf.errors.VerificationError: it answers otherwise: by 0.3\n\nThe above exception"
    )
    assert reason_of(text) == "it answers otherwise: by 0.3"
    assert reason_of("RuntimeError: edgeclf") is None


@needs_ray
def test_a_cluster_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    # In a process of its own: importing Ray warns, and takes seconds.
    code, said = refused(write(tmp_path, artifact()), "--ray", "127.0.0.1:9")
    assert code == 2 and "Cannot use the Ray cluster at 127.0.0.1:9: " in said
