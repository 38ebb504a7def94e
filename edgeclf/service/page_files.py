"""The files of the page: which there are, under which addresses, and how they are sent.

Its modules are sent without the lines that are comments; the types that stand there are for
`tsc`, and whoever reads them has the sources.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from edgeclf.errors import MissingDependencyError
from edgeclf.service.asgi import Headers

# Where the wheel `edgeclf-web` puts them: beside this room, in the one package.
STATIC = Path(__file__).resolve().parents[1] / "web" / "static"
PREFIX = "/ui/"
_ENGINES = "engines"
_INDEX = "index.html"
_HOME = b"{{ui}}"  # in the index: where the page's other files are
_KINDS = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".mjs": b"text/javascript; charset=utf-8",
    ".json": b"application/json",
    ".svg": b"image/svg+xml",
    ".wasm": b"application/wasm",
    ".txt": b"text/plain; charset=utf-8",
    ".md": b"text/plain; charset=utf-8",
}
# Nothing but its own files, WebAssembly among them, and no frame around it. Isolated, so that
# engines may use threads; all of it is same-origin, so that costs nothing.
_SAFE: Headers = [
    (b"content-security-policy",
     b"default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
     b"style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; "
     b"form-action 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-embedder-policy", b"require-corp"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]  # fmt: skip
# Lines of a module that are comments alone: a quarter of what would go over the wire.
_COMMENTS = re.compile(
    rb"^[ \t]*(?:/\*\*(?:(?!\*/).)*\*/|//[^\n]*)[ \t]*\n", re.DOTALL | re.MULTILINE
)
_FOR_EVER = (b"cache-control", b"public, max-age=31536000, immutable")  # its address has its hash
_ASK_AGAIN = (b"cache-control", b"no-cache")


@dataclass(frozen=True)
class PageFile:
    """A file as it is sent.

    Attributes:
        kind: Its media type.
        path: Of its bytes; None where they are in `content`.
        content: The bytes; the engines' stay on disk.
        packed: What else may be sent, by the name of the encoding: bytes, or where they are.
        lasting: Whether its address changes when it does.
    """

    kind: bytes
    path: Path | None = None
    content: bytes = b""
    packed: dict[bytes, bytes | Path] = field(default_factory=dict)
    lasting: bool = True

    def answer(self, accepted: bytes) -> tuple[bytes, Headers]:
        """The bytes for a client, and their headers.

        Args:
            accepted: The encodings that it takes, as ``Accept-Encoding`` has them.
        """
        names = {each.partition(b";")[0].strip() for each in accepted.split(b",")}
        encoding = next((name for name in self.packed if name in names), None)
        body = self.packed[encoding] if encoding is not None else self.path or self.content
        headers = [*_SAFE, _FOR_EVER if self.lasting else _ASK_AGAIN]
        headers.append(
            (b"vary", b"accept-encoding" if self.lasting else b"accept, accept-encoding")
        )
        if encoding is not None:
            headers.append((b"content-encoding", encoding))
        return body if isinstance(body, bytes) else body.read_bytes(), headers


class PageFiles:
    """All files of the page by address; those of the page itself are read once.

    Args:
        folder: Where they are.

    Raises:
        MissingDependencyError: There are none: the wheel is not installed.
    """

    def __init__(self, folder: Path = STATIC) -> None:
        if not (folder / _INDEX).is_file():
            raise MissingDependencyError("edgeclf-web", "web", "'edgeclf serve --ui'")
        found = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in _KINDS
        }
        own = {name: path.read_bytes() for name, path in found.items() if not _is_engine(name)}
        home = f"{PREFIX}{_hash(own)}/"
        self._files = {
            home + name: _held(name, content) for name, content in own.items() if name != _INDEX
        }
        self.index = _held(_INDEX, own[_INDEX].replace(_HOME, home.rstrip("/").encode()), False)
        self.engines: dict[str, dict[str, str]] = {}
        if f"{_ENGINES}/{_ENGINES}.json" in found:
            listed = json.loads(found[f"{_ENGINES}/{_ENGINES}.json"].read_bytes())
            self.engines = {name: each for name, each in listed.items() if isinstance(each, dict)}
        for name, path in found.items():
            if _is_engine(name):
                self._files[PREFIX + name] = _on_disk(path)

    def get(self, address: str) -> PageFile | None:
        """The file at an address; None where there is none."""
        return self._files.get(address)


def _is_engine(name: str) -> bool:
    return name.startswith(f"{_ENGINES}/")


def _hash(files: dict[str, bytes]) -> str:
    """A name for the page as it is: other files, other addresses."""
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:16]


def _held(name: str, content: bytes, lasting: bool = True) -> PageFile:
    if name.endswith(".js"):
        content = _COMMENTS.sub(b"", content)
    packed: dict[bytes, bytes | Path] = {b"gzip": gzip.compress(content, mtime=0)}
    return PageFile(_KINDS[Path(name).suffix], None, content, packed, lasting)


def _on_disk(path: Path) -> PageFile:
    packed: dict[bytes, bytes | Path] = {}
    brotli = path.with_name(path.name + ".br")
    if brotli.is_file():
        packed[b"br"] = brotli
    # The list of engines is asked for anew each time; all else is in a folder with its hash.
    lasting = path.parent.name != _ENGINES
    return PageFile(_KINDS[path.suffix], path, b"", packed, lasting)
