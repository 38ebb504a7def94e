"""MLflow's tracking server, asked with Python alone: an alias, and one file."""

from __future__ import annotations

import base64
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeclf.errors import OptionError, RegistryError
from edgeclf.registry.address import Address
from edgeclf.registry.tags import Entry, entry_of

_TIMEOUT_S = 10.0  # without a byte
_MOST_ANSWER = 1 << 20
_MOST_FILE = 4 << 30
_CHUNK = 1 << 18
_PROXIED = "mlflow-artifacts:"
_OK, _PARTIAL, _UNSATISFIABLE = 200, 206, 416


class RestSource:
    """A tracking server that hands artifacts on itself, as it does by default.

    Who asks is said by MLflow's own variables: `MLFLOW_TRACKING_TOKEN`, or
    `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`.

    Args:
        url: Of the server.

    Raises:
        OptionError: That is no address.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urllib.parse.urlsplit(url)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            valid = None
        if not valid or parts.username is not None:
            raise OptionError(
                f"The registry's address is {_bare(url)!r}; expected one such as "
                "http://127.0.0.1:5000. A name and a password belong into "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            )
        self._url = url.rstrip("/")
        self._headers = _authorization()

    def resolve(self, address: Address) -> Entry:
        """See `Source.resolve`."""
        found = self._ask(
            "registered-models/alias", {"name": address.name, "alias": address.alias}, str(address)
        )
        version = found.get("model_version")
        if not isinstance(version, dict) or not isinstance(version.get("version"), str):
            raise self._strange("names no version")
        tags = version.get("tags") or []
        try:
            return entry_of(
                address.name, version["version"], {tag["key"]: tag.get("value", "") for tag in tags}
            )
        except (TypeError, KeyError) as exc:
            raise self._strange("has tags of another form") from exc

    def download(self, entry: Entry, target: Path) -> None:
        """See `Source.download`."""
        words = {"name": entry.name, "version": entry.version}
        what = f"version {entry.version} of {entry.name!r}"
        folder = self._ask("model-versions/get-download-uri", words, what).get("artifact_uri")
        if not isinstance(folder, str):
            raise self._strange("does not say where the files are")
        if not folder.startswith(_PROXIED):
            scheme = folder.partition(":")[0] or "no place"
            raise RegistryError(
                f"The registry at {self._url} keeps the files of {what} in {scheme!r}, which it "
                "does not hand on. Start it with 'mlflow server --serve-artifacts', which is its "
                "default, and register the file again."
            )
        # With a host, as in mlflow-artifacts://host/1/..., the path alone is the server's.
        path = urllib.parse.urlsplit(folder).path.strip("/")
        place = urllib.parse.quote(f"{path}/{entry.file}")
        self._fetch(f"/api/2.0/mlflow-artifacts/artifacts/{place}", what, target)

    def _ask(self, method: str, words: dict[str, str], what: str) -> dict[str, Any]:
        query = f"?{urllib.parse.urlencode(words)}" if words else ""
        with self._open(f"/api/2.0/mlflow/{method}{query}", what) as answer, self._reading():
            content = answer.read(_MOST_ANSWER)
        try:
            found = json.loads(content)
        except ValueError as exc:
            raise self._strange("is no JSON") from exc
        if not isinstance(found, dict):
            raise self._strange("is no object of JSON")
        return found

    def _fetch(self, path: str, what: str, target: Path) -> None:
        have = target.stat().st_size if target.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._open(path, what, headers, _UNSATISFIABLE) as answer:
            if answer.status == _UNSATISFIABLE:  # there is nothing behind what is here
                return
            goes_on = answer.status == _PARTIAL and have > 0
            size = have if goes_on else 0
            with target.open("ab" if goes_on else "wb") as file:
                while chunk := self._read(answer):
                    size += len(chunk)
                    if size > _MOST_FILE:
                        raise self._strange(f"is larger than {_MOST_FILE:,} bytes")
                    file.write(chunk)
            left = answer.length or 0  # what was announced and did not come
        if left:
            raise RegistryError(
                f"The registry at {self._url} ended {what} after {size:,} bytes, {left:,} too few. "
                "It goes on from there at the next try."
            )

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        with self._reading():
            return answer.read(_CHUNK)

    def _open(
        self, path: str, what: str, headers: dict[str, str] | None = None, *allowed: int
    ) -> http.client.HTTPResponse:
        request = urllib.request.Request(
            self._url + path, headers={**self._headers, **(headers or {})}
        )
        with self._reading():
            try:
                answer: http.client.HTTPResponse = _OPENER.open(request, timeout=_TIMEOUT_S)
            except urllib.error.HTTPError as exc:
                if exc.code in allowed:
                    return exc  # type: ignore[return-value]
                with exc:
                    raise self._refused(exc, what) from exc
        return answer

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as exc:
            reason = getattr(exc, "reason", None) or exc
            raise RegistryError(
                f"The registry at {self._url} is away: {reason}. See to it that it runs and can "
                "be reached from here."
            ) from exc

    def _refused(self, error: urllib.error.HTTPError, what: str) -> RegistryError:
        try:
            words = json.loads(error.read(_MOST_ANSWER))
            message = str(words.get("message") or words.get("error_code"))
        except (ValueError, AttributeError, OSError, http.client.HTTPException):
            message = str(error.reason)
        return RegistryError(
            f"The registry at {self._url} answers {error.code} for {what}: "
            f"{' '.join(message.split())[:300]}"
        )

    def _strange(self, how: str) -> RegistryError:
        return RegistryError(
            f"What the registry at {self._url} answers {how}; expected MLflow's REST API. See that "
            "the address is a tracking server's, and no other program's."
        )


class _SameServer(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: a key that is meant for one server must reach no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_SameServer)


def _authorization() -> dict[str, str]:
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if token:
        return {"Authorization": f"Bearer {token}"}
    name = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if name:
        pair = f"{name}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}


def _bare(url: str) -> str:
    """An address without what may be a password in it."""
    head, at, host = url.rpartition("@")
    return f"{head.partition('://')[0]}://...@{host}" if at else url
