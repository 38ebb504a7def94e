"""What tells people and programs how to ask: the start, the OpenAPI document, and a page."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

from edgeclf.service.asgi import Headers, Receive, Scope, Send, respond, respond_json
from edgeclf.service.openapi import RouteEntry, example_photo, openapi
from edgeclf.service.page_routes import PageRoutes
from edgeclf.service.problem import Problem
from edgeclf.service.service import Service

_PAGES = Path(__file__).parent / "pages"
# Nothing but its own files, and no frame around it: what it is given as a key stays here.
_SAFE: Headers = [
    (b"content-security-policy",
     b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
     b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]  # fmt: skip


class DocsRoutes:
    """The routes.

    Args:
        service: Whose they are.
        page: What a browser is shown at the start, where it is wanted.
    """

    def __init__(self, service: Service, page: PageRoutes) -> None:
        self._service = service
        self._page = page
        self.routes: Sequence[RouteEntry] = ()

    async def start(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What this is, and where to go on. Answers 200 to a probe that knows no path.

        With --ui, a browser gets the page.
        """
        if self._page.wanted(scope):
            await self._page.index(scope, send)
            return
        await respond_json(send, {
            "name": "edgeclf",
            "status": "alive",  # what KServe's client of version 1 looks for
            "version": importlib.metadata.version("edgeclf"),
            "links": {"docs": "/docs", "openapi": "/openapi.json", "classify": "/classify",
                      "live": "/healthz/live", "ready": "/healthz/ready", "metrics": "/metrics"},
        })  # fmt: skip

    async def openapi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """This document: OpenAPI 3.1, made from the models that are served."""
        await respond_json(send, openapi(self._service, self.routes))

    async def example(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The photo of the file's certificate, to try it with."""
        photo = example_photo(self._service.catalog.find(scope["path_params"]["model"]))
        if photo is None:
            raise Problem(404, "no_example", "This model's file has no certificate with a photo.")
        await respond(send, 200, photo, content_type=b"image/jpeg")

    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A page for people: models, routes, and a form to try a picture."""
        await _send_page(send, "docs.html", b"text/html; charset=utf-8")

    async def style(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page's look."""
        await _send_page(send, "docs.css", b"text/css; charset=utf-8")

    async def script(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page's behaviour."""
        await _send_page(send, "docs.js", b"text/javascript; charset=utf-8")


async def _send_page(send: Send, name: str, kind: bytes) -> None:
    await respond(send, 200, (_PAGES / name).read_bytes(), _SAFE, kind)
