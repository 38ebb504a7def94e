"""One replica of a service on a Ray cluster: the whole service, without a port of its own.

Ray Serve's proxies take the requests; what answers them is the same application as without Ray. A
replica has its artifacts' bytes from the cluster's object store, and proves them before Ray sends
it anybody's request.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from edgeclf.errors import EdgeclfError, ServiceError
from edgeclf.service.app import build_app
from edgeclf.service.asgi import Application, Message, Receive, Scope, Send, respond_problem
from edgeclf.service.config import ServiceConfig
from edgeclf.service.problem import Problem
from edgeclf.service.service import Service

_NAMED = b"x-request-id"
_CHANGES = ("/load", "/unload", "/refresh")

Content: TypeAlias = "tuple[bytes, str | None, str | None]"


class Board:
    """The one actor beside the replicas: hands out what they serve, and tells them of the end.

    Ray ships what it stores to each machine once, however many replicas are there.

    Args:
        contents: Bytes, model and version of each artifact; the last two None where it says them.
        config: As the service was told to run.
        keys: What its file of keys holds; None without one.
    """

    def __init__(
        self, contents: Sequence[Content], config: ServiceConfig, keys: bytes | None
    ) -> None:
        import ray

        self._contents = ray.put(list(contents))
        self._config, self._keys = config, keys
        self._draining = asyncio.Event()

    async def hand_out(self) -> tuple[list[Any], ServiceConfig, bytes | None]:
        """A reference to the artifacts, in a list, or it would be followed; config and keys."""
        return [self._contents], self._config, self._keys

    async def drain(self) -> None:
        """Lets all replicas say that they are not ready any more."""
        self._draining.set()

    async def until_draining(self) -> None:
        """Returns once `drain` was called."""
        await self._draining.wait()


class RayReplica:
    """What Ray Serve makes one of for each replica, with `ray.serve.ingress` around it.

    Args:
        board: The handle of a `Board`.

    Raises:
        EdgeclfError: An artifact cannot be served here: Ray then has no such replica.
    """

    async def __init__(self, board: Any) -> None:  # type: ignore[misc]  # Ray awaits it
        (reference,), config, keys = await board.hand_out.remote()
        contents: list[Content] = await reference
        # Again, as the limits are those of this machine: threads and CPUs, above all.
        config = dataclasses.replace(config, keys=None if keys is None else _stored(keys))
        self._service = service = Service(config)
        if config.keys is not None:
            Path(config.keys).unlink()  # it is read; a file that is gone changes no keys
        service.start()
        try:
            for content, model, number in contents:
                read = await service.versions.read(bytes(content), model, number)
                await service.versions.introduce(read, replace=False)
        except BaseException:
            await service.close()
            raise
        self._watch = asyncio.create_task(self._drained(board))

    async def _drained(self, board: Any) -> None:
        await board.until_draining.remote()
        self._service.draining = True

    def __serve_build_asgi_app__(self) -> Application:
        """Called by Ray once `__init__` is through."""
        return _BehindProxy(build_app(self._service))

    def check_health(self) -> None:
        """Called by Ray now and then; a replica that raises is replaced by a new one.

        Raises:
            ServiceError: An artifact does not answer as certified any more.
        """
        problems = self._service.catalog.problems()
        if problems:
            raise ServiceError(f"{problems[0]['model']}: {problems[0]['reason']}")


class _BehindProxy:
    """The service's application as Ray's proxy needs it.

    It refuses what would change one replica and leave the others as they are, and leaves the
    request's name to the proxy, which adds it to each answer too.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] != "GET" and _changes(scope["path"]):
            await respond_problem(send, Problem(
                501, "not_with_ray",
                f"{scope['path']} would change one replica of several. Serve what is wanted from "
                "now on with 'edgeclf serve --ray' anew.",
            ))  # fmt: skip
            return

        async def send_unnamed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [each for each in message["headers"] if each[0] != _NAMED]
            await send(message)

        await self._application(scope, receive, send_unnamed)


def _changes(path: str) -> bool:
    return path.startswith(("/admin/", "/v1/stress")) or (
        path.startswith("/v2/repository/") and path.endswith(_CHANGES)
    )


def _stored(keys: bytes) -> str:
    """The keys' hashes as a file that only this account may read."""
    handle, path = tempfile.mkstemp(prefix="edgeclf-keys-")
    with os.fdopen(handle, "wb") as file:
        file.write(keys)
    return path


def reason_of(message: str) -> str | None:
    """The sentence of the error of ours in a traceback that Ray gives as text; None without one."""
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in _all_of(EdgeclfError)}
    for line in reversed(message.splitlines()):
        kind, separator, sentence = line.strip().partition(": ")
        if separator and kind in kinds:
            return sentence
    return None


def _all_of(kind: type[EdgeclfError]) -> Iterator[type[EdgeclfError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _all_of(each)
