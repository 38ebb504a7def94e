"""What every request passes before its route: a name of its own, and a refusal in one form."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from time import perf_counter

from edgeclf.errors import EdgeclfError
from edgeclf.service.asgi import (
    Application,
    Bodies,
    Gone,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    header,
    respond_problem,
)
from edgeclf.service.problem import Problem
from edgeclf.service.service import Service

_LOG = logging.getLogger("edgeclf.service")
_RANDOM = random.Random()  # names, no secrets: asking the kernel takes 20 times as long
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_TRACE = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")  # W3C Trace Context


class Front:
    """The outermost application.

    Args:
        application: What is behind it.
        service: Whose requests are counted.
        streams: What answers WebSockets.
    """

    def __init__(self, application: Application, service: Service, streams: Application) -> None:
        self._application = application
        self._streams = streams
        self._service = service
        self._bodies = Bodies(service.config.max_held_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, whatever happens behind."""
        if scope["type"] not in ("http", "websocket"):
            return
        start = perf_counter()
        given = header(scope, b"x-request-id")
        known = given is not None and _REQUEST_ID.fullmatch(given)
        request_id = given if known and given is not None else b"%032x" % _RANDOM.getrandbits(128)
        scope["edgeclf.request_id"] = request_id.decode()
        scope["edgeclf.bodies"] = self._bodies
        if scope["type"] == "websocket":
            await self._streams(scope, receive, send)
            return
        headers: Headers = [(b"x-request-id", request_id)]
        telemetry = self._service.telemetry
        span = None
        if telemetry is not None:
            span = telemetry.begin(scope)
            headers.append((b"traceparent", telemetry.traceparent(span)))
        elif (given := header(scope, b"traceparent")) and (parts := _TRACE.fullmatch(given)):
            own = b"-".join((b"00", parts[1], b"%016x" % _RANDOM.getrandbits(64), parts[3]))
            headers.append((b"traceparent", own))
        if self._service.draining:
            headers.append((b"connection", b"close"))
        status = 0
        log = self._service.log
        if log is not None:
            log.begin()

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        try:
            self._service.access.admit(scope)
            await self._application(scope, receive, send_named)
        except Gone:
            status = 499  # as nginx says it; nobody reads it
        except asyncio.CancelledError:  # the service ends, and has waited long enough
            if not status:
                await respond_problem(send_named, Problem(503, "ended", "The service has ended."))
        except EdgeclfError as exc:
            problem = Problem.of(exc)
            self._service.metrics.refused.labels(problem.code).inc()
            if not status:
                await respond_problem(send_named, problem)
        except Exception:
            _LOG.exception("request %s failed", scope["edgeclf.request_id"])
            if not status:
                sorry = Problem(500, "failed", "The service failed; its log has this request's id.")
                await respond_problem(send_named, sorry)
        finally:
            self._bodies.release(scope)
        route = scope.get("edgeclf.route", "other")
        if telemetry is not None:
            telemetry.end(span, scope["method"], route, status)
        seconds = perf_counter() - start
        self._service.metrics.request(route, status, seconds)
        if log is not None:
            log.end(scope["edgeclf.request_id"], route, status, seconds)
