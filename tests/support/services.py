"""Services for the tests: artifacts that the fake runtime answers, and what serves them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvloop

from edgeclf import Classifier, ImageSpec, Metadata
from edgeclf.artifact import Artifact, save_artifact, seal_artifact
from edgeclf.runtimes.fake import FakeRuntime
from edgeclf.service.app import build_app
from edgeclf.service.config import ServiceConfig
from edgeclf.service.server import ServiceServer
from edgeclf.service.service import Service
from edgeclf.trust.certificate import make_certificate
from support.pictures import save
from support.third_party import bring_runtime

START_S = 60
_SLOW = """
import time
from edgeclf.runtimes.fake import FakeRuntime

class Runtime(FakeRuntime):
    def run(self, images):
        time.sleep({wait_s})
        return super().run(images)
"""
_ADDRESS = re.compile(r"ready at (http://\S+) ")


def artifact(
    name: str = "shades",
    version: str = "1",
    labels: Sequence[str] = ("dark", "middle", "bright"),
    **metadata: Any,
) -> Artifact:
    """A sealed artifact whose certificate the fake runtime repeats."""
    plain = Metadata(name, tuple(labels), ImageSpec(32, 32), version=version, **metadata)
    bare = Artifact("onnx", plain, b"")
    runtime = FakeRuntime(bare)
    images = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (20, 128, 240)])
    rows = runtime.run(images)
    with Classifier(bare, runtime=runtime) as classifier:
        certificate = make_certificate(classifier, runtime.run, images, (rows, rows))
    return seal_artifact(b"", dataclasses.replace(plain, certificate=certificate))


def lying(made: Artifact) -> Artifact:
    """The same with a certificate that nothing here repeats."""
    metadata = made.metadata
    assert metadata.certificate is not None
    images = [{**e, "artifact": e["artifact"][::-1]} for e in metadata.certificate["images"]]
    certificate = {**metadata.certificate, "images": images}
    return seal_artifact(b"", dataclasses.replace(metadata, certificate=certificate))


def write(folder: Path, made: Artifact, file: str | None = None) -> Path:
    """Stores an artifact as users have it."""
    metadata = made.metadata
    path = folder / (file or f"{metadata.name}.{metadata.version}.fp32.onnx")
    path.parent.mkdir(parents=True, exist_ok=True)
    found = save_artifact(made, path).path
    assert found is not None
    return found


def shade(level: int, size: tuple[int, int] = (48, 64)) -> bytes:
    """A plain picture as a file's bytes: 20 is dark, 128 middle, 240 bright."""
    return save(np.full((*size, 3), level, np.uint8), "JPEG")


@contextmanager
def client(*paths: Path, **config: Any) -> Iterator[httpx.Client]:
    """A client of a service in this process, on a loop in a thread of its own; no sockets."""
    with _started(asyncio.new_event_loop, *paths, **config) as (service, wait):
        loop = wait(_running_loop())
        transport = _Transport(httpx.ASGITransport(build_app(service)), loop)  # type: ignore[arg-type]
        with httpx.Client(
            transport=transport, base_url="http://127.0.0.1", timeout=START_S
        ) as made:
            made.service = service  # type: ignore[attr-defined]
            made.wait = wait  # type: ignore[attr-defined]
            yield made


@dataclasses.dataclass
class Listening:
    """A service of this process behind a port; what it does may be changed while it runs."""

    service: Service
    server: ServiceServer
    port: int
    wait: Callable[[Coroutine[Any, Any, Any]], Any]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self, sent: bytes = b"", timeout_s: float = 10) -> socket.socket:
        """A connection, on which something has been sent."""
        made = socket.create_connection(("127.0.0.1", self.port), timeout_s)
        made.sendall(sent)
        return made

    def ask(self, sent: bytes) -> bytes:
        """All that comes back for what was sent, until the service ends the connection."""
        with self.connect(sent) as made:
            return received(made)


def eventually(check: Callable[[], Any]) -> None:
    """Waits until something that another thread does is so."""
    until = time.monotonic() + 30
    while not check():
        assert time.monotonic() < until, "it does not come true"
        time.sleep(0.005)


def received(made: socket.socket) -> bytes:
    """All that comes until the other side ends the connection."""
    parts = []
    while part := made.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def answers(raw: bytes) -> list[tuple[int, Any]]:
    """Status and document of each answer in what came over a connection."""
    found = []
    while raw:
        head, _, rest = raw.partition(b"\r\n\r\n")
        status, *headers = head.decode("latin-1").split("\r\n")
        assert status.startswith("HTTP/1.1 "), raw[:200]
        fields = {k.lower(): v for k, _, v in (line.partition(": ") for line in headers)}
        length = int(fields["content-length"])
        found.append((int(status.split()[1]), json.loads(rest[:length])))
        assert len(rest) >= length
        raw = rest[length:]
    return found


@contextmanager
def listening(*paths: Path, **config: Any) -> Iterator[Listening]:
    """A service behind a port, in a thread of this process: for what only sockets show."""
    with _started(uvloop.new_event_loop, *paths, **config) as (service, wait):
        server = ServiceServer(service)
        server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]
        server._loop = wait(_running_loop())
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = wait(_task(server.serve(sockets=[listener])))
            try:
                yield Listening(service, server, listener.getsockname()[1], wait)
            finally:
                server.should_exit = True
                wait(_result(serving))


@contextmanager
def _started(
    make_loop: Callable[[], asyncio.AbstractEventLoop], *paths: Path, **config: Any
) -> Iterator[tuple[Service, Callable[[Coroutine[Any, Any, Any]], Any]]]:
    service = Service(ServiceConfig(**{"runtime": "fake", **config}))
    loop = make_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> None:
        service.start()
        for path in paths:
            await service.load(path)

    def wait(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(START_S)

    try:
        wait(start())
        yield service, wait
    finally:
        wait(service.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def run_in(made: httpx.Client, coroutine: Any) -> Any:
    """Runs a coroutine on the loop of a client's service."""
    return made.wait(coroutine)  # type: ignore[attr-defined]


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def _task(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(coroutine)


async def _result(task: asyncio.Task[Any]) -> Any:
    return await task


class _Transport(httpx.BaseTransport):
    def __init__(self, inner: httpx.ASGITransport, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def answer() -> httpx.Response:
            asynchronous = httpx.Request(
                request.method, request.url, headers=request.headers, content=request.read()
            )
            response = await self._inner.handle_async_request(asynchronous)
            content = await response.aread()
            response.headers.pop("content-encoding", None)  # it has been unpacked
            return httpx.Response(response.status_code, headers=response.headers, content=content)

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(START_S)


@dataclasses.dataclass
class Running:
    """A process that serves, and its address."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and waits for the process's end; its exit code."""
        self.process.send_signal(sig)
        return self.process.wait(START_S)


@contextmanager
def serving(
    *words: object, env: dict[str, str] | None = None, start_s: float = START_S
) -> Iterator[Running]:
    """Runs `edgeclf serve` on a free port, from the moment that it is ready."""
    command = [sys.executable, "-m", "edgeclf", "serve", "--port", "0", *map(str, words)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    ) as process:
        watchdog = threading.Timer(start_s, process.kill)
        watchdog.start()
        lines: list[str] = []
        assert process.stderr is not None
        try:
            for line in process.stderr:
                lines.append(line.rstrip())
                if found := _ADDRESS.search(line):
                    break
            else:
                raise AssertionError(f"ended with {process.wait()}: {lines}")
            watchdog.cancel()
            reader = threading.Thread(target=_drain, args=(process.stderr, lines), daemon=True)
            reader.start()
            yield Running(process, found[1], lines)
        finally:
            watchdog.cancel()
            process.kill()


def slow_runtime(folder: Path, wait_s: float) -> dict[str, str]:
    """A runtime `slow`, the fake one that waits; gives what `bring_runtime` gives."""
    return bring_runtime(folder, "slow", _SLOW.format(wait_s=wait_s))


def _drain(stream: Any, lines: list[str]) -> None:
    lines.extend(line.rstrip() for line in stream)
