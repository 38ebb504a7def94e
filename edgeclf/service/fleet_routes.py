"""What devices of a fleet send of themselves, and what an operator sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from edgeclf.errors import FleetError
from edgeclf.fleet.outbox import MOST_BYTES
from edgeclf.publishing.overview import overview
from edgeclf.publishing.overview_page import to_page
from edgeclf.service.asgi import Receive, Scope, Send, read_body, respond, respond_json
from edgeclf.service.keys import require_admin
from edgeclf.service.problem import Problem

if TYPE_CHECKING:
    from edgeclf.publishing.collector import Collector
    from edgeclf.service.service import Service

_STATUS = {"report": 422, "unknown-device": 403, "signature": 403, "replayed": 409, "full": 507,
           "store": 503}  # fmt: skip
_MOST_WAITING = 64  # for the database
_THREADS = 2
_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_T = TypeVar("_T")


class FleetRoutes:
    """The routes below ``/fleet``.

    Args:
        service: What they are about.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._waiting = 0
        # Threads of their own: a slow database holds up nobody who waits for an answer.
        self._threads = ThreadPoolExecutor(_THREADS, "edgeclf-fleet")

    async def report(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Takes what a device reports of itself; the device needs no key of the service.

        It is signed by the device's own key, where it was enrolled with one.
        """
        collector = self._collector()
        content = await read_body(scope, receive, MOST_BYTES)
        news = await self._ask(lambda: collector.take(content))
        await respond_json(send, {"news": news}, 202 if news else 200)

    async def status(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What the devices of the fleet report, together."""
        require_admin(scope)
        await respond_json(send, await self._overview())

    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same as a page."""
        require_admin(scope)
        page = to_page(await self._overview()).encode("utf-8", "replace")
        headers = [(b"content-security-policy", _POLICY), (b"cache-control", b"no-store")]
        await respond(send, 200, page, headers, b"text/html; charset=utf-8")

    async def _overview(self) -> dict[str, Any]:
        collector = self._collector()
        return await self._ask(lambda: overview(collector.reports(), collector.unheard()))

    def _collector(self) -> Collector:
        if self._service.fleet is None:
            raise Problem(
                409, "no_fleet",
                "This service takes no reports of devices. Start it with --fleet DB, a file for "
                "them or the address of a database.",
            )  # fmt: skip
        return self._service.fleet

    async def _ask(self, work: Callable[[], _T]) -> _T:
        if self._waiting >= _MOST_WAITING:
            raise Problem(
                503, "busy",
                f"{self._waiting} requests wait for the reports' database; ask again later.",
                retry_after_s=5,
            )  # fmt: skip
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except FleetError as exc:
            status = _STATUS.get(exc.reason, 500)
            code = exc.reason.replace("-", "_")
            raise Problem(status, code, str(exc)) from exc
        finally:
            self._waiting -= 1
