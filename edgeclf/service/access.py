"""Whom the service lets in, and how often: decided by the headers, before any body is read."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from edgeclf.errors import ServiceError
from edgeclf.service.asgi import Scope
from edgeclf.service.keys import Key, find_key, read_keys
from edgeclf.service.problem import Problem

_LOG = logging.getLogger("edgeclf.service")
_PROTOCOL = "edgeclf.key."  # and the key in base64url, without what fills it up
_LOOK_S = 1.0  # between two looks at the file
# What asks for these, an orchestrator's probe, has no key; the answers name models and files.
_OPEN = frozenset({
    "/healthz/live", "/healthz/ready", "/v2/health/live", "/v2/health/ready",
    "/", "/docs", "/docs/docs.css", "/docs/docs.js",  # name no model, and ask for a key
})  # fmt: skip

# Whose senders, a registry and the devices of a fleet, may have no key, and sign instead.
_SIGNED = frozenset({"/admin/registry/refresh", "/fleet/report"})

_Stamp = tuple[int, int, int]


class Access:
    """The file of keys as it is now, and what each key has used up.

    A file that is damaged, or gone, changes nothing: the keys of the last good one go on.

    Args:
        path: The file; None where every client that reaches the service may ask.

    Raises:
        ServiceError: It cannot be read, or is damaged.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._keys: tuple[Key, ...] = ()
        self._lent: tuple[Key, ...] = ()
        self._buckets: dict[str, _Bucket] = {}
        self._looked = monotonic()
        self._stamp: _Stamp | None = None
        if path is not None:
            self._stamp = _stamp(path)  # before it is read: what is written meanwhile is seen later
            self._keys = read_keys(path)

    @contextlib.contextmanager
    def lent(self) -> Iterator[str]:
        """A key that may classify for as long as the block lasts, also where there are no others.

        A load test of this service brings it: so it is let in at any rate, and `is_rehearsal` tells
        its requests from those of the world.
        """
        key = secrets.token_urlsafe(32)
        self._lent = (Key("", "classify", hashlib.sha256(key.encode()).digest()),)
        try:
            yield key
        finally:
            self._lent = ()

    def admit(self, scope: Scope) -> None:
        """Lets a request in, and notes what it may do for `require_admin`.

        Raises:
            Problem: 401 it has no key, or none that is known; 429 the key was used too often.
        """
        if self._lent and (given := _given(scope)) and find_key(self._lent, given):
            scope["edgeclf.role"] = "classify"
            scope["edgeclf.rehearsal"] = True
            return
        if self._path is None:
            return
        scope["edgeclf.role"] = "none"
        # The page and its engines name no model either.
        if scope["path"] in _OPEN or scope["path"].startswith("/ui/"):
            return
        now = monotonic()
        if now - self._looked > _LOOK_S:
            self._looked = now
            self._look(self._path)
        given = _given(scope)
        if given is None and scope["path"] in _SIGNED:
            return
        key = None if given is None else find_key(self._keys, given)
        if key is None:
            what = "brings no key" if given is None else "brings a key that is not known here"
            raise Problem(
                401, "no_key",
                f"The request {what}; expected one as 'Authorization: Bearer KEY' or "
                "'X-API-Key: KEY'.",
                headers=[(b"www-authenticate", b"Bearer")],
            )  # fmt: skip
        if key.rate is not None:
            self._spend(key, key.rate, now)
        scope["edgeclf.role"] = key.role
        scope["edgeclf.key"] = key.name

    def _spend(self, key: Key, rate: float, now: float) -> None:
        bucket = self._buckets.get(key.name)
        if bucket is None:
            bucket = self._buckets[key.name] = _Bucket(key.burst, now)
        bucket.tokens = min(key.burst, bucket.tokens + (now - bucket.at) * rate)
        bucket.at = now
        if bucket.tokens < 1:
            raise Problem(
                429, "too_often",
                f"The key {key.name!r} may make {rate:g} requests/s, and {key.burst:g} at once; "
                "ask again later, or slower.",
                retry_after_s=(1 - bucket.tokens) / rate,
            )  # fmt: skip
        bucket.tokens -= 1

    def _look(self, path: str) -> None:
        stamp = _stamp(path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = read_keys(path)
        except ServiceError as exc:
            _LOG.error("the keys of before stay in use: %s", exc)
        else:
            _LOG.warning("%d keys were read from %s, which had changed", len(self._keys), path)


def is_rehearsal(scope: Scope) -> bool:
    """Whether a request is of a load test of this service, and tells nothing of the world."""
    return "edgeclf.rehearsal" in scope


class _Bucket:
    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at


def _stamp(path: str) -> _Stamp | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _given(scope: Scope) -> bytes | None:
    """The key of a request; that of `Authorization` where it has two."""
    given = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return bytes(key.strip())
        elif name == b"x-api-key":
            given = bytes(value.strip())
    for protocol in scope.get("subprotocols", ()):  # all that a browser's WebSocket can bring
        if protocol.startswith(_PROTOCOL):
            with contextlib.suppress(ValueError):
                return base64.urlsafe_b64decode(protocol[len(_PROTOCOL) :] + "==")
    return given
