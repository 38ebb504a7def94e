"""What a registry, or an operator, tells the service: that it is time to look."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

from edgeclf.service.asgi import Receive, Scope, Send, header, read_body, respond_json
from edgeclf.service.keys import require_admin
from edgeclf.service.problem import Problem
from edgeclf.service.registry_source import read_secret
from edgeclf.service.service import Service

_MOST_BYTES = 65_536
_MOST_AGE_S = 300.0  # of a signature; what was recorded is of no use for longer
_SIGNATURE = b"x-mlflow-signature"


class RegistryRoutes:
    """The route below ``/admin/registry``.

    Args:
        service: What it is about.

    Raises:
        ServiceError: The file of the secret cannot be read.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        secret = service.config.registry_secret
        self._secret = None if secret is None else read_secret(secret)

    async def refresh(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Looks at the registry now: for an admin, or for a webhook that is signed."""
        if header(scope, _SIGNATURE) is None:
            require_admin(scope)
        else:
            self._check(scope, await read_body(scope, receive, _MOST_BYTES))
        registry = self._service.registry
        if registry is None:
            raise Problem(
                409, "no_registry",
                "This service looks at no registry. Start it with --registry models:/NAME@ALIAS.",
            )  # fmt: skip
        await registry.look(again=True)
        await respond_json(send, registry.entry())

    def _check(self, scope: Scope, body: bytes) -> None:
        """Holds a webhook against its signature, as MLflow makes it."""
        delivery = header(scope, b"x-mlflow-delivery-id") or b""
        at = header(scope, b"x-mlflow-timestamp") or b""
        given = header(scope, _SIGNATURE) or b""
        signed = b".".join((delivery, at, body))
        digest = hmac.digest(self._secret or b"", signed, hashlib.sha256)
        made = b"v1," + base64.b64encode(digest)
        fresh = at.isdigit() and abs(time.time() - int(at[:15])) <= _MOST_AGE_S
        if self._secret is None or not hmac.compare_digest(made, given) or not fresh:
            raise Problem(
                403, "bad_signature",
                "The webhook's signature does not fit it, is older than 5 minutes, or this service "
                "has no secret. Make the webhook with the secret of --registry-secret.",
            )  # fmt: skip
