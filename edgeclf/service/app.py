"""The routes of a service, as one ASGI application."""

from __future__ import annotations

import inspect
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import Route, Router

from edgeclf.service.admin import admin_routes
from edgeclf.service.asgi import Application, Receive, Scope, Send
from edgeclf.service.classify_route import ClassifyRoute
from edgeclf.service.docs_routes import DocsRoutes
from edgeclf.service.fleet_routes import FleetRoutes
from edgeclf.service.front import Front
from edgeclf.service.gallery import Gallery
from edgeclf.service.health import HealthRoutes
from edgeclf.service.inference_protocol import InferenceProtocol
from edgeclf.service.openapi import RouteEntry
from edgeclf.service.page_routes import PageRoutes
from edgeclf.service.predict_route import PredictRoutes
from edgeclf.service.problem import Problem
from edgeclf.service.registry_routes import RegistryRoutes
from edgeclf.service.repository_routes import RepositoryRoutes
from edgeclf.service.service import Service
from edgeclf.service.stream_route import Streams
from edgeclf.service.stress_routes import stress_routes

_MODEL = "/v1/models/{model}"


def build_app(service: Service) -> Application:
    """An application that answers for a service."""
    protocol, repository = InferenceProtocol(service), RepositoryRoutes(service)
    predict = PredictRoutes(service)
    classify, health, page = ClassifyRoute(service), HealthRoutes(service), PageRoutes(service)
    docs, gallery = DocsRoutes(service, page), Gallery(service.config.gallery)
    fleet = FleetRoutes(service)
    routes = [
        _route("/classify", classify, "POST"),
        *_at_version(_MODEL, "/classify", classify, "POST"),
        _route("/healthz/live", health.live),
        _route("/healthz/ready", health.ready),
        _route("/metrics", health.metrics),
        _route("/v1/monitor", health.monitor),
        *_at_version("/v2/models/{model}", "/infer", protocol.infer, "POST"),
        *_at_version("/v2/models/{model}", "", protocol.model),
        *_at_version("/v2/models/{model}", "/ready", protocol.model_ready),
        _route("/v2/health/live", health.live),
        _route("/v2/health/ready", health.ready),
        _route("/v2", protocol.server),
        _route("/v2/repository/index", repository.index, "POST"),
        _route("/v2/repository/models/{model}/load", repository.load, "POST"),
        _route("/v2/repository/models/{model}/unload", repository.unload, "POST"),
        *_at_version(_MODEL, ":predict", predict.predict, "POST"),
        *_at_version(_MODEL, ":classify", predict.classify, "POST"),
        *_at_version(_MODEL, "/metadata", predict.metadata),
        *_at_version(_MODEL, "", predict.status),
        _route("/", docs.start),
        _route("/ui/{file:path}", page.file),
        _route("/v1/models", page.models),
        *_at_version(_MODEL, "/file", page.model_file),
        _route(_MODEL + "/example", docs.example),
        _route("/v1/gallery", gallery.list),
        _route("/v1/gallery/{name}", gallery.picture),
        _route("/openapi.json", docs.openapi),
        _route("/docs", docs.page),
        _route("/docs/docs.css", docs.style),
        _route("/docs/docs.js", docs.script),
        _route("/admin/registry/refresh", RegistryRoutes(service).refresh, "POST"),
        _route("/fleet", fleet.page),
        _route("/fleet/report", fleet.report, "POST"),
        _route("/fleet/status", fleet.status),
        *(_route(path, endpoint, *methods)
          for path, endpoint, methods in (*admin_routes(service), *stress_routes(service))),
    ]  # fmt: skip
    docs.routes = [_entry(route) for route in routes]
    # A Router alone: what Starlette's application adds, errors in one form, Front does for less.
    return Front(_Routes(routes), service, Streams(service))


def _route(path: str, endpoint: Application, *methods: str) -> Route:
    return Route(path, _Endpoint(path, endpoint), methods=methods or ("GET",))


def _at_version(model: str, what: str, endpoint: Application, *methods: str) -> tuple[Route, Route]:
    """A route of a model, and of one of its versions."""
    return (
        _route(model + what, endpoint, *methods),
        _route(model + "/versions/{version}" + what, endpoint, *methods),
    )


def _entry(route: Route) -> RouteEntry:
    """A route as its docstring describes it; HEAD, which Starlette adds, goes without saying."""
    assert isinstance(route.endpoint, _Endpoint)
    methods = tuple(sorted((route.methods or set()) - {"HEAD"}))
    return RouteEntry(route.path, methods, route.endpoint.text)


class _Endpoint:
    """A route as an ASGI application that Starlette does not wrap, with the name it counts by."""

    def __init__(self, path: str, application: Application) -> None:
        self._path = path
        self._application = application
        described = application if inspect.isroutine(application) else type(application).__call__
        self.text = inspect.getdoc(described) or ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["edgeclf.route"] = self._path
        await self._application(scope, receive, send)


class _Routes(Router):
    """Says in one form that there is no such route, or not with that method."""

    def __init__(self, routes: list[Route]) -> None:
        super().__init__(routes, redirect_slashes=False, default=_no_route)
        # What has no parameters needs no search.
        self._fixed = {
            (method, route.path): route.app
            for route in routes if "{" not in route.path
            for method in route.methods or ()
        }  # fmt: skip

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        fixed = self._fixed.get((scope["method"], scope["path"]))
        if fixed is not None:
            await fixed(scope, receive, send)
            return
        scope["app"] = self  # so that Starlette raises for a wrong method, and answers nothing
        try:
            await super().__call__(scope, receive, send)
        except HTTPException as exc:
            allowed = (exc.headers or {}).get("Allow", "")
            raise Problem(
                exc.status_code, "bad_method",
                f"{scope['method']} is not what {scope['path']} takes; expected {allowed}.",
                headers=[(b"allow", allowed.encode())],
            ) from None  # fmt: skip


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    raise Problem(
        404, "no_route",
        f"There is no {scope['path']} here. POST a picture to /classify, or see /docs.",
    )  # fmt: skip
