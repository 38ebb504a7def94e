"""The model repository of the Open Inference Protocol: what there is, and what is to be loaded."""

from __future__ import annotations

from typing import Any

from edgeclf.errors import EdgeclfError
from edgeclf.service import steering
from edgeclf.service.asgi import Receive, Scope, Send, read_body, respond_json
from edgeclf.service.catalog import State
from edgeclf.service.intake import parse_json
from edgeclf.service.keys import require_admin
from edgeclf.service.problem import Problem
from edgeclf.service.service import Service

_STATES: dict[State, str] = {
    "loading": "LOADING",
    "ready": "READY",
    "failed": "UNAVAILABLE",
    "draining": "UNLOADING",
    "unloaded": "UNAVAILABLE",
}
_MOST_BYTES = 2**16
_IGNORED = frozenset({"unload_dependents"})  # there are none


class RepositoryRoutes:
    """What is under ``/v2/repository``.

    Args:
        service: Whose models they are.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def index(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every version with its state; ``ready`` in the body asks for those that are."""
        document = await self._document(scope, receive)
        only = document.get("ready", False)
        if not isinstance(only, bool):
            raise Problem(400, "bad_json", "'ready' is neither true nor false.")
        await respond_json(send, [
            {"name": v.model, "version": v.number, "state": _STATES[v.state], "reason": v.reason}
            for v in self._service.catalog if v.state == "ready" or not only
        ])  # fmt: skip

    async def load(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Loads a model's version that answers, or the last one, again."""
        require_admin(scope)
        await self._check_parameters(scope, receive)
        name = scope["path_params"]["model"]
        try:
            await steering.reload(self._service.versions, name)
        except Problem:
            raise
        except EdgeclfError as exc:
            raise Problem(400, "not_loaded", f"Model {name!r} cannot be loaded: {exc}") from exc
        await respond_json(send, {})

    async def unload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Frees all versions of a model once they owe no answer."""
        require_admin(scope)
        await self._check_parameters(scope, receive)
        await steering.unload(self._service.versions, scope["path_params"]["model"])
        await respond_json(send, {})

    async def _check_parameters(self, scope: Scope, receive: Receive) -> None:
        parameters = (await self._document(scope, receive)).get("parameters") or {}
        others = sorted(set(parameters) - _IGNORED) if isinstance(parameters, dict) else ["it"]
        if others:
            raise Problem(
                400, "bad_json",
                f"The parameter {others[0]!r} is not for this service: a model is what its file "
                "says, and files are not taken from requests.",
            )  # fmt: skip

    async def _document(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        body = await read_body(scope, receive, _MOST_BYTES)
        document = parse_json(body) if body.strip() else {}
        if not isinstance(document, dict):
            raise Problem(400, "bad_json", "The JSON is no object; expected one, or no body.")
        return document
