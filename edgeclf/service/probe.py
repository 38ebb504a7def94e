"""Asks a service whether it is ready, for a container's health check. Needs nothing but Python."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

from edgeclf.errors import OptionError

_READY = "/healthz/ready"
_TIMEOUT_S = 5.0


def probe(url: str) -> str | None:
    """Asks once.

    Args:
        url: Of the service, or of one of its routes; by default whether it is ready.

    Returns:
        None if it answers 200; else why it counts as not ready, in a line.

    Raises:
        OptionError: That is no such address.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme != "http":
        raise OptionError(
            f"The address to probe is {url!r}; expected one as http://127.0.0.1:8080."
        )
    path = parts.path if parts.path.strip("/") else _READY
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as exc:
        return f"{url} does not answer: {exc}"
    finally:
        connection.close()
    return None if response.status == 200 else f"{url} answers {response.status}{_reason(body)}"


def _reason(body: bytes) -> str:
    """What a service of ours says of it."""
    try:
        document = json.loads(body)
        problems = [f"{each['model']}: {each['reason']}" for each in document["problems"]]
    except (ValueError, LookupError, TypeError):
        return ""
    return f": {'; '.join(problems)}"
