"""deploy/haproxy and deploy/nginx before real replicas, in the real programs."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from edgeclf.measurement.workloads.open_loop import arrival_times
from edgeclf.service.load.arrivals import OpenLoop
from edgeclf.service.load.generator import Generator, Outcome
from edgeclf.service.load.target import make_target
from support.deployment import DEPLOY
from support.services import Running, artifact, received, serving, shade, slow_runtime, write

FILES = {"haproxy": DEPLOY / "haproxy/haproxy.cfg", "nginx": DEPLOY / "nginx/nginx.conf"}
WAIT_S = 0.04
RATE = 25.0  # of the 50 that two replicas answer
SECONDS = 3.0
BURST = 150  # above the hundred that HAProxy holds, and what two replicas do
LARGE = 32 * 2**20 + 1
ON_ITS_WAY = 2  # requests at most in a replica, by maxconn


@pytest.fixture(params=FILES)
def program(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}, which is not installed here: apt-get install {name}")
    return name


@dataclass
class Replicas:
    """Two services that wait, each of which can be ended and started again."""

    words: tuple[object, ...]
    environment: dict[str, str]
    ports: tuple[int, int]
    stack: ExitStack
    running: dict[int, Running] = field(default_factory=dict)

    def start(self, number: int) -> None:
        words = (*self.words, "--port", self.ports[number])
        self.running[number] = self.stack.enter_context(serving(*words, env=self.environment))


def test_the_program_takes_the_file_as_it_is(program: str, tmp_path: Path) -> None:
    file = FILES[program]
    command = {"haproxy": ["haproxy", "-c", "-f", file], "nginx": ["nginx", "-t", "-c", file]}
    done = subprocess.run(command[program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower()


def test_replicas_come_and_go_without_a_failed_request(program: str, tmp_path: Path) -> None:
    # In one test, as what is started serves all of it.
    with ExitStack() as stack:
        file = write(tmp_path, artifact())
        replicas = Replicas(
            (file, "--runtime", "slow", "--workers", 1, "--queue", 31, "--drain-s", 2),
            slow_runtime(tmp_path / "plugin", WAIT_S), (free_port(), free_port()), stack,
        )  # fmt: skip
        for number in (0, 1):
            replicas.start(number)
        url = stack.enter_context(balancer(program, replicas.ports, tmp_path))
        photos = tmp_path / "photos"
        photos.mkdir()
        for level in (20, 240):
            (photos / f"{level}.jpg").write_bytes(shade(level))

        check_that_it_answers_and_refuses_as_the_service(url, replicas)
        check_that_too_much_is_told_to_ask_again(url)
        drained = while_asked(url, photos, lambda: replicas.running[0].stop(signal.SIGTERM))
        assert statuses(drained) == {200}
        replicas.start(0)
        time.sleep(2.5)  # until the balancer has looked again
        killed = while_asked(url, photos, lambda: replicas.running[1].stop(signal.SIGKILL))
        lost = [each for each in killed if each.status != 200]
        assert len(lost) <= ON_ITS_WAY, Counter(each.status for each in lost)
        assert len(killed) - len(lost) > 0.8 * RATE * SECONDS

        replicas.running[0].stop(signal.SIGKILL)
        away = [httpx.post(f"{url}/classify", content=shade(20), timeout=20) for _ in range(3)]
        assert {each.status_code for each in away[1:]} == {503}
        assert int(away[-1].headers["retry-after"]) >= 1 and away[-1].json()["code"] == "busy"


def check_that_it_answers_and_refuses_as_the_service(url: str, replicas: Replicas) -> None:
    with httpx.Client(base_url=url, timeout=20) as http:
        assert http.post("/classify", content=shade(240)).json()["label"] == "bright"
        assert http.get("/v2/health/ready").status_code == 200
        assert http.post("/classify", content=b"none").status_code == 422
        # Replicas take these from their own machine alone, and who comes through here is not.
        for path in ("/admin/models/shades/unload", "/v2/repository/models/shades/unload"):
            assert http.post(path).status_code == 403
    with socket.create_connection(address(url), 10) as made:
        made.sendall(
            f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n".encode()
        )
        answer = made.recv(65_536).decode()
    assert answer.startswith("HTTP/1.1 413") and "body_too_large" in answer


def check_that_too_much_is_told_to_ask_again(url: str) -> None:
    """More at once than fits: refused in words, and the rest is answered."""
    body = shade(240)
    head = f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    request = head.encode() + b"Connection: close\r\n\r\n" + body
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection(address(url), 30)) for _ in range(BURST)
        ]
        for each in sockets:
            each.sendall(request)
        found = [received(each).decode().partition("\r\n\r\n") for each in sockets]
    refused = [(head.lower(), text) for head, _, text in found if head.startswith("HTTP/1.1 503")]
    assert refused and all("retry-after: " in head for head, _ in refused)
    assert all('"code": "busy"' in text for _, text in refused)
    answered = sum(head.startswith("HTTP/1.1 200") for head, _, _ in found)
    assert answered == BURST - len(refused) > 32


def address(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def while_asked(url: str, photos: Path, event: object) -> list[Outcome]:
    """What comes of requests at a steady rate, in the middle of which something happens."""
    target = make_target(f"{url}/classify", photos)
    timer = threading.Timer(SECONDS / 3, event)  # type: ignore[arg-type]
    timer.start()
    run = Generator(target, 64, 20).run(OpenLoop(arrival_times(RATE, SECONDS, seed=0)))
    timer.join()
    return run.outcomes


def statuses(outcomes: list[Outcome]) -> set[int]:
    return {each.status for each in outcomes}


@contextmanager
def balancer(program: str, ports: tuple[int, int], folder: Path) -> Iterator[str]:
    """The program with our file, in which nothing is changed but where things are."""
    port = free_port()
    text = FILES[program].read_text()
    for old, new in (("8081", ports[0]), ("8082", ports[1]), ("8000", port)):
        text, count = re.subn(f"(127.0.0.1:){old}", f"127.0.0.1:{new}", text)
        assert count == 1
    file = folder / FILES[program].name
    file.write_text(text.replace("/tmp/edgeclf-", f"{folder}/"))
    command = {
        "haproxy": ["haproxy", "-db", "-f", str(file)],
        "nginx": ["nginx", "-c", str(file), "-g", "daemon off;"],
    }
    with subprocess.Popen(command[program], stderr=subprocess.PIPE) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            until = time.monotonic() + 20
            while not answers(url):
                assert time.monotonic() < until and process.poll() is None
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
