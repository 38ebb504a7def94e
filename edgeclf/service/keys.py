"""Who may change what is served."""

from __future__ import annotations

from edgeclf.service.asgi import Scope, header
from edgeclf.service.config import LOOPBACK
from edgeclf.service.problem import Problem


def require_admin(scope: Scope) -> None:
    """Refuses whoever may not change what is served: all but clients on this machine.

    A web site's page in a browser on this machine is none of them: it names its origin.

    Raises:
        Problem: 403.
    """
    client = scope.get("client")
    if client is None or client[0] not in LOOPBACK or header(scope, b"origin") is not None:
        raise Problem(
            403, "not_admin",
            "This changes what is served; only a client on the same machine may do that, and no "
            "web site's page.",
        )  # fmt: skip
