"""The process of a service: it listens, loads, says when it is ready, and stops in good order."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import resource
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from time import perf_counter
from types import FrameType
from typing import Any

import uvicorn
import uvloop

from edgeclf.errors import EdgeclfError, ServiceError
from edgeclf.service.app import build_app
from edgeclf.service.config import ServiceConfig
from edgeclf.service.page_files import PageFiles
from edgeclf.service.protocol import limited_protocol
from edgeclf.service.service import Service
from edgeclf.service.stream_messages import most_frame_bytes
from edgeclf.service.stream_protocol import StreamProtocol
from edgeclf.service.watching import Watcher
from edgeclf.system.progress import log
from edgeclf.system.words import counted

_BACKLOG = 2048
_MALLOPT_ARENA_MAX = -8  # malloc.h
_ARENAS = 2
_OWN_FILES = 256  # models, libraries, what is watched
_GRACE_S = 5.0  # beyond the deadline, for answers on their way

Source = tuple[str, "str | None", "str | None"]


def run_service(sources: Sequence[Source], config: ServiceConfig) -> None:
    """Serves artifacts until a signal ends it.

    SIGTERM: not ready at once, goes on for `drain_s`, answers what it has, ends. SIGINT (Ctrl-C)
    or a second signal: ends without going on.

    Args:
        sources: Path, model and version of each artifact; the last two None where the file says it.
            Beside them there is the folder that the config may name.
        config: How it runs.

    Raises:
        ServiceError: It cannot listen there.
        EdgeclfError: An artifact cannot be served.
    """
    _limit_arenas()
    allow_connections(config.max_connections)
    with listening(config) as listener:
        uvloop.run(_main(sources, config, listener))


async def _main(sources: Sequence[Source], config: ServiceConfig, listener: socket.socket) -> None:
    start = perf_counter()
    service = Service(config)
    service.start()
    server = ServiceServer(service)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    failure: EdgeclfError | None = None
    watching: list[asyncio.Task[None]] = []
    try:
        watching = await _load(service, sources)
        if not server.should_exit:
            host, port = listener.getsockname()[:2]
            where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            models = "" if service.catalog.models else " (for models: none is there yet)"
            log(
                f"edgeclf: ready at {where}{models} after {perf_counter() - start:.1f} s; "
                f"{counted(config.worker_count, 'worker')}, "
                f"{counted(config.threads, 'thread')} each"
            )
            if config.ui:
                log(f"edgeclf: the page is at {where}/{_engines_note()}")
    except EdgeclfError as exc:
        failure = exc
        server.should_exit = True
    await serving
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    await service.close()
    if failure is not None:
        raise failure


def _engines_note() -> str:
    """What the page lacks, if it does."""
    if PageFiles().engines:
        return ""
    return (
        "; it was installed without the browser's engines, so only the server answers. In a "
        "checkout: python tools/fetch_web.py"
    )


async def _load(service: Service, sources: Sequence[Source]) -> list[asyncio.Task[None]]:
    """Loads what it starts with: all files that were named, what is good in the folder, the alias.

    Returns:
        What goes on watching folder and registry.
    """
    versions, config = service.versions, service.config
    service.catalog.starting = True
    for path, model, number in sources:
        if service.draining:  # a signal has come meanwhile
            return []
        await versions.introduce(await versions.read(path, model, number), replace=False)
    watcher = None if config.models is None else Watcher(versions, config.models)
    if watcher is not None:
        await watcher.start()
    if service.registry is not None:
        await service.registry.start()
    service.catalog.starting = False
    for version in service.catalog:
        if version.proof is not None:
            where = version.artifact.path
            log(f"edgeclf: {version.model} {version.number} ({where}): {version.proof.text}")
    watching = []
    if watcher is not None and config.watch_s:
        watching.append(asyncio.create_task(watcher.watch(config.watch_s)))
    if service.registry is not None:
        watching.append(asyncio.create_task(service.registry.watch(config.poll_s)))
    if not watching and not any(version.state == "ready" for version in service.catalog):
        raise (watcher and watcher.failure) or ServiceError(
            f"There is no artifact in {config.models}, and it is not watched for one to come. "
            "Put one there, or leave out --watch 0."
        )
    return watching


class ServiceServer(uvicorn.Server):
    """uvicorn's server with our order of stopping, and an exit status of 0 for it."""

    def __init__(self, service: Service) -> None:
        config, refused = service.config, service.metrics.refused
        super().__init__(uvicorn.Config(
            build_app(service),
            http=limited_protocol(config, lambda code: refused.labels(code).inc()),
            loop="uvloop",
            lifespan="off",
            ws=StreamProtocol,
            ws_max_size=most_frame_bytes(config),
            ws_ping_interval=None,  # the client asks, so that a stream that is idle costs nothing
            ws_per_message_deflate=False,  # pictures are packed already
            log_config=None,
            log_level="error",  # what a client does wrong is counted, and fills no disk
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=round(config.deadline_s + _GRACE_S),
        ))  # fmt: skip
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handles signals while it serves, and does not raise them again afterwards."""
        self._loop = asyncio.get_running_loop()
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {each: signal.signal(each, self.handle_exit) for each in handled}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first SIGTERM drains; anything after it, or Ctrl-C, ends."""
        if sig == signal.SIGTERM and not self._service.draining and self._loop is not None:
            self._service.draining = True
            self._loop.call_soon_threadsafe(
                self._loop.call_later, self._service.config.drain_s, self._exit
            )
            return
        if self._service.draining and self.should_exit:
            self.force_exit = True
        self._service.draining = True
        self._exit()

    def _exit(self) -> None:
        self.should_exit = True


@contextlib.contextmanager
def listening(config: ServiceConfig) -> Generator[socket.socket, None, None]:
    """A socket bound to where the service is to be.

    Raises:
        ServiceError: It cannot be.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((config.host, config.port))
        except OSError as exc:
            raise ServiceError(
                f"Cannot listen at {config.host}, port {config.port}: {exc.strerror}. Choose "
                "another --port (0 for any free one), or end what uses it."
            ) from exc
        listener.setblocking(False)
        yield listener


def allow_connections(count: int) -> None:
    """Lets the process open as many connections as it may have, beside its own files.

    Raises:
        ServiceError: The system does not.
    """
    needed = count + count // 8 + _OWN_FILES  # some more, which are told that there are too many
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise ServiceError(
                f"{count} connections need {needed} open files, and this process may have {hard} "
                "(ulimit -Hn). Raise that, or allow fewer connections."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _limit_arenas() -> None:
    """Keeps glibc from an arena for each thread, between which memory is never given back."""
    if not sys.platform.startswith("linux"):
        return
    libc: Any = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):  # another C library
        libc.mallopt(_MALLOPT_ARENA_MAX, _ARENAS)
