"""The stress test of the page: the service puts itself under load, for whoever may change it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import quote

from edgeclf.errors import ImageError
from edgeclf.image import load_image
from edgeclf.service.asgi import (
    Application,
    Gone,
    Receive,
    Scope,
    Send,
    read_body,
    respond,
    respond_json,
    to_json,
)
from edgeclf.service.catalog import Version
from edgeclf.service.intake import parse_json
from edgeclf.service.keys import require_admin
from edgeclf.service.openapi import example_photo
from edgeclf.service.problem import Problem
from edgeclf.service.service import Service
from edgeclf.service.stress.asked import limits, read_asked
from edgeclf.service.stress.run import StressRun
from edgeclf.service.stress.runs import StressRuns

_LINES = b"application/x-ndjson"
_FRESH = [
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy that gathers lines would show them too late
]
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class StressRoutes:
    """The routes below ``/v1/stress``, for whoever `require_admin` lets in.

    Args:
        service: What is put under load.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def _runs(self, scope: Scope) -> StressRuns:
        require_admin(scope)
        runs = self._service.stress
        if runs is None:
            raise Problem(
                404, "no_stress",
                "This service has no stress test; it comes with the page, where a service runs "
                "with --ui.",
            )  # fmt: skip
        return runs

    async def index(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The stress tests that were, the last one first, and what may be asked of one."""
        runs = self._runs(scope)
        config, running = self._service.config, runs.running
        await respond_json(send, {
            "limits": limits(config),
            "capacity": config.capacity,
            "workers": config.worker_count,
            "running": None if running is None else running.id,
            "runs": runs.entries(),
        }, headers=_FRESH[:1])  # fmt: skip

    async def begin(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begins a stress test of a model: this service asks itself, and nobody else."""
        runs = self._runs(scope)
        config = self._service.config
        body = await read_body(scope, receive, config.max_body_bytes)
        asked = read_asked(parse_json(body, 1000), config)
        version = self._service.catalog.find(asked.model, asked.version)
        images = asked.images or _certified(version)
        await asyncio.to_thread(_check, images, version)
        run = runs.begin(asked, _own_address(scope, version, asked.deadline_ms), images)
        await respond_json(send, run.entry(), 202)

    async def follow(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A stress test as lines of JSON: what is asked, each second as it comes, and the end."""
        run = self._runs(scope).find(scope["path_params"]["run"])
        headers = [(b"content-type", _LINES), *_FRESH]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _line(send, {"run": run.entry()})
        gone = asyncio.create_task(_until_gone(receive))
        told = 0
        try:
            while not gone.done():
                news = run.news  # before it looks: what comes meanwhile is not missed
                new = run.buckets[told:]
                told += len(new)
                for bucket in new:
                    await _line(send, {"second": bucket})
                if run.state != "running" and told == len(run.buckets):
                    break
                waiting = asyncio.create_task(news.wait())
                await asyncio.wait([gone, waiting], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
        finally:
            left = gone.done()
            gone.cancel()
        if left:
            raise Gone
        await send(_part(_end(run)))

    async def cancel(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ends a stress test soon, with what was measured until then."""
        run = self._runs(scope).find(scope["path_params"]["run"])
        run.stop("cancelled", "It was ended by hand.")
        await respond_json(send, run.entry(), 202)

    async def record(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A stress test's record: the file that ``edgeclf load --out`` writes."""
        run = self._runs(scope).find(scope["path_params"]["run"])
        if run.record is None:
            raise Problem(
                404, "no_record",
                f"The stress test {run.id} has no record: "
                + ("it is running." if run.state == "running" else "nothing was measured."),
            )  # fmt: skip
        await respond(send, 200, run.record, _FRESH[:1])


def _certified(version: Version) -> tuple[bytes, ...]:
    photo = example_photo(version)
    if photo is None:
        raise Problem(
            400, "no_picture",
            f"The file of {version.model!r} has no photo of its own to be sent; give some as "
            "images.",
        )  # fmt: skip
    return (photo,)


def _check(images: Sequence[bytes], version: Version) -> None:
    """Refuses what the model would refuse each time.

    Raises:
        Problem: 422; says which, and why.
    """
    for number, content in enumerate(images, 1):
        try:
            load_image(content, version.artifact.metadata.image)
        except ImageError as exc:
            raise Problem(422, "picture_refused", f"Picture {number} is refused: {exc}") from exc


def _own_address(scope: Scope, version: Version, deadline_ms: float) -> str:
    """Where this very service takes the model's pictures, to be answered by a deadline.

    It is where the request's connection ended, as the system says it; of what the client sent, the
    name of a model that is served is all that is in it.
    """
    server = scope.get("server")
    if server is None or server[1] is None:
        raise Problem(
            409, "no_address", "This service listens at no address that it could ask itself at."
        )
    host, port = _EVERYWHERE.get(server[0], server[0]), server[1]
    host = f"[{host}]" if ":" in host else host
    names = (quote(name, safe="") for name in (version.model, version.number))
    place = "/v1/models/{}/versions/{}/classify".format(*names)
    return f"http://{host}:{port}{place}?timeout_ms={max(deadline_ms, 1.0):g}"


def _end(run: StressRun) -> bytes:
    head = to_json({"end": run.entry()})
    if run.record is None:
        return head + b"\n"
    # The record as it is, on one line: what is within its texts has no line ends.
    record = b" ".join(run.record.split(b"\n"))
    return head[:-1] + b', "record": ' + record + b"}\n"


async def _line(send: Send, document: object) -> None:
    await send(_part(to_json(document) + b"\n", more=True))


def _part(body: bytes, more: bool = False) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def stress_routes(service: Service) -> list[tuple[str, Application, tuple[str, ...]]]:
    """Address, endpoint and methods of each route."""
    stress = StressRoutes(service)
    return [
        ("/v1/stress", stress.index, ("GET",)),
        ("/v1/stress", stress.begin, ("POST",)),
        ("/v1/stress/{run}", stress.follow, ("GET",)),
        ("/v1/stress/{run}", stress.cancel, ("DELETE",)),
        ("/v1/stress/{run}/record", stress.record, ("GET",)),
    ]
