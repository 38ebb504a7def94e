"""What operators ask: which versions there are, load one, go back, go there, keep, let go."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from edgeclf.errors import EdgeclfError, OptionError
from edgeclf.service import steering
from edgeclf.service.asgi import Application, Receive, Scope, Send, header, read_body, respond_json
from edgeclf.service.catalog import Model, Version, order
from edgeclf.service.intake import parse_json
from edgeclf.service.keys import require_admin
from edgeclf.service.loading import artifacts_in
from edgeclf.service.memory import resident_bytes
from edgeclf.service.problem import Problem
from edgeclf.service.service import Service
from edgeclf.service.uploads import store

_MOST_JSON = 65_536


class AdminRoutes:
    """The routes below ``/admin``, for whoever `require_admin` lets in.

    Args:
        service: What they are about.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._versions = service.versions

    async def index(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every version with its state and why, what is tried, and what was refused."""
        require_admin(scope)
        catalog = self._service.catalog
        try:
            resident = resident_bytes()
        except OptionError:
            resident = None
        await respond_json(send, {
            "models": [self._model(model) for _, model in sorted(catalog.models.items())],
            "refused": [
                {"file": self._shown(r.path), "model": r.model, "version": r.number,
                 "reason": r.reason} for r in catalog.refused.values()
            ],
            "registry": self._service.registry and self._service.registry.entry(),
            "memory": {"resident_bytes": resident, "limit_mb": self._service.config.memory_mb},
        })  # fmt: skip

    def _model(self, model: Model) -> dict[str, Any]:
        return {
            "model": model.name,
            "current": model.current and model.current.number,
            "previous": model.previous and {
                "version": model.previous.number, "sha256": model.previous.sha256},
            "trial": model.trial and model.trial.entry(),
            "versions": [
                self._version(model.versions[n]) for n in sorted(model.versions, key=order)
            ],
        }  # fmt: skip

    def _version(self, version: Version) -> dict[str, Any]:
        path = version.artifact.path
        return {
            "version": version.number,
            "sha256": version.sha256,
            "state": version.state,
            "reason": version.reason,
            "pinned": version.pinned,
            "file": None if path is None else self._shown(str(path)),
            "size_bytes": version.size_bytes,
            "precision": version.artifact.metadata.precision,
            "runtime": version.runtime and version.runtime.name,
            "in_flight": version.in_flight,
            "certificate": version.proof and version.proof.text,
        }

    def _shown(self, path: str) -> str:
        """A file as it is called in the folder; of others their name, as the rest is no news."""
        root = self._service.config.models
        if root is not None and Path(path).is_relative_to(root):
            return os.path.relpath(path, root)
        return Path(path).name

    async def load(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Loads an artifact: one of the folder, one that is sent, or what was unloaded by hand."""
        require_admin(scope)
        name = scope["path_params"]["model"]
        config = self._service.config
        kind = (header(scope, b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind == b"application/json":
            words = _json(await read_body(scope, receive, _MOST_JSON))
            if "path" in words:
                version = await _tried(self._load_path(name, words["path"]))
            else:
                version = await _tried(steering.reload(self._versions, name, words.get("version")))
        else:
            content = await read_body(scope, receive, config.max_model_bytes)
            version = await _tried(self._load_content(name, content))
        await self._answer(send, version)

    async def _load_path(self, name: str, word: object) -> Version:
        """Loads a file of the folder by its path in it."""
        root = Path(self._root())
        real = os.path.realpath(root / word) if isinstance(word, str) and "\0" not in word else ""
        for path, model, number in await self._versions.in_loader(artifacts_in, root):
            if isinstance(word, str) and path == root / word:
                if not Path(real).is_relative_to(os.path.realpath(root)):
                    break  # a link that leads out of it
                version = await self._versions.read(path, model, number)
                if version.model != name:
                    raise Problem(
                        409, "other_model", f"{word} is model {version.model!r}, not {name!r}."
                    )
                return await self._versions.introduce(version)
        raise Problem(
            404, "no_file",
            f"The folder of models has no artifact {word!r}; expected the path of one in it, such "
            "as FILE or MODEL/VERSION/FILE.",
        )  # fmt: skip

    async def _load_content(self, name: str, content: bytes) -> Version:
        """Loads what was sent, and stores it in the folder once it has proven itself."""
        root = self._root()
        version = await self._versions.read(content, name)
        return await self._versions.introduce(version, keep=lambda proven: store(root, proven))

    def _root(self) -> str:
        root = self._service.config.models
        if root is None:
            raise Problem(
                409, "no_folder",
                "This service was given files, and no folder to take others from or store them "
                "in. Start it with --models DIR.",
            )  # fmt: skip
        return root

    async def rollback(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Goes back to the version before."""
        require_admin(scope)
        name = scope["path_params"]["model"]
        await self._answer(send, await _tried(steering.rollback(self._versions, name)))

    async def promote(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a version answer for its model."""
        require_admin(scope)
        name, number = _place(scope)
        await self._answer(send, await _tried(steering.promote(self._versions, name, number)))

    async def unload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Frees a version until it is loaded by hand."""
        require_admin(scope)
        name, number = _place(scope)
        await steering.unload(self._versions, name, number)
        await self._answer(send, self._service.catalog.version(name, number))

    async def pin(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST keeps a version loaded, DELETE no longer does."""
        require_admin(scope)
        name, number = _place(scope)
        pinned = scope["method"] != "DELETE"
        await self._answer(send, steering.pin(self._versions, name, number, pinned))

    async def _answer(self, send: Send, version: Version) -> None:
        model = self._service.catalog.models.get(version.model)
        current = None if model is None or model.current is None else model.current.number
        await respond_json(send, {
            "model": version.model, "current": current, **self._version(version),
        })  # fmt: skip


def _place(scope: Scope) -> tuple[str, str]:
    place = scope["path_params"]
    return place["model"], place["version"]


async def _tried(work: Awaitable[Version]) -> Version:
    """What comes of work on an artifact that somebody named: if it fails, theirs is at fault."""
    try:
        return await work
    except Problem:
        raise
    except EdgeclfError as exc:
        raise Problem(422, "model_refused", str(exc)) from exc


def _json(body: bytes) -> dict[str, Any]:
    words = parse_json(body) if body.strip() else {}
    if not isinstance(words, dict) or not isinstance(words.get("version", ""), str):
        raise Problem(
            400, "bad_json",
            'The JSON is not what was expected: {"path": "FILE"} for one of the folder of models, '
            '{"version": "V"} for one that was unloaded, or an artifact\'s bytes as '
            "application/octet-stream.",
        )  # fmt: skip
    return words


def admin_routes(service: Service) -> list[tuple[str, Application, tuple[str, ...]]]:
    """Address, endpoint and methods of each route."""
    admin = AdminRoutes(service)
    model = "/admin/models/{model}"
    version = model + "/versions/{version}"
    return [
        ("/admin/models", admin.index, ("GET",)),
        (model + "/load", admin.load, ("POST",)),
        (model + "/rollback", admin.rollback, ("POST",)),
        (version + "/promote", admin.promote, ("POST",)),
        (version + "/unload", admin.unload, ("POST",)),
        (version + "/pin", admin.pin, ("POST", "DELETE")),
    ]
