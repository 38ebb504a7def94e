"""Requests such as no service wants, for fuzz_service.py: each from a seed and its number alone.

All of them are harmless elsewhere: what is wrong with them is wrong by the standards, and short.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from damaged_images import corpus, make_image

MODEL = "shades"
_PATHS = (
    "/classify", "/v1/models/M/classify", "/v1/models/M/versions/1/classify", "/v1/models",
    "/v1/models/M", "/v1/models/M:predict", "/v1/models/M:classify", "/v1/models/M/versions/1",
    "/v1/models/M/versions/1:predict", "/v1/models/M/rollback", "/healthz/live", "/healthz/ready",
    "/metrics", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/M", "/v2/models/M/ready",
    "/v2/models/M/infer", "/v2/models/M/versions/1/infer", "/v2/models/M/stats",
    "/v2/repository/index", "/v2/repository/models/M/load", "/v2/repository/models/M/unload",
    "/docs", "/openapi.json", "/", "/favicon.ico",
)  # fmt: skip
_OWN = ("/classify", "/classify", "/v1/models/M/classify", "/v1/models/M/versions/1/classify")
_TENSORS = ("/v2/models/M/infer", "/v2/models/M/versions/1/infer", "/v1/models/M:predict")
_POSTED = {
    "raw": _OWN, "form": _OWN, "json": (*_OWN, "/v1/models/M:predict", "/v1/models/M:classify"),
    "infer": _TENSORS, "binary": _TENSORS, "none": _PATHS, "noise": _PATHS,
}  # fmt: skip
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "QUERY", "get")
_TYPES = (
    "image/jpeg", "image/png", "application/octet-stream", "application/json", "text/plain",
    "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x",
    "application/json; charset=utf-16", "application/x-www-form-urlencoded", "", ";", "a" * 300,
    "image/", "multipart/mixed; boundary=x", "application/json; boundary=x",
)  # fmt: skip
_PARAMETERS = ("top", "allow", "deny", "threshold", "set", "unknown", "explain", "timeout_ms", "x")
_VALUES = (
    "", "0", "1", "-1", "1e400", "nan", "inf", "999999999999999999999", "0.5", "true", "dark", "%",
    "%00", "%ff", "flag", "a" * 500, "²", "१", "[]", "{}", "null", "../..", "\r\nX: y", "0x10",
    "1_0",
)  # fmt: skip
_NAMES = ('name="f"; filename="a.jpg"', 'name="f"', 'filename="', "name=é", "")
_ATOMS: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 1e308, -0.0, "", "a", "UINT8", "FP32", [], {},
    "\x00", "é" * 50, [[]], {"b64": 1}, "=" * 9, "\ud800",
)  # fmt: skip
_DATATYPES = ("UINT8", "FP32", "INT64", "BYTES", "BOOL", "FP16", "x", "", 3, None)


@dataclass(frozen=True)
class OddRequest:
    """One request.

    Attributes:
        kind: How its body was made.
        content: All of its bytes.
        cut: Whether it says more than it sends, so that the connection may just end.
        head: Whether no body is answered.
    """

    kind: str
    content: bytes
    cut: bool
    head: bool


class OddRequests:
    """A row of them.

    Args:
        seed: Makes other ones.
        key: What the service knows; most requests bring it.
    """

    def __init__(self, seed: int, key: str) -> None:
        self._seed = seed
        self._key = key
        self._pictures = {k: v for k, v in corpus().items() if len(v) < 100_000}

    def make(self, number: int) -> OddRequest:
        """The one with this number."""
        rng = random.Random(f"{self._seed}/{number}")
        kind = rng.choice(("raw", "raw", "form", "json", "infer", "binary", "none", "noise"))
        make: Callable[[random.Random, int], tuple[str, bytes, dict[str, str]]]
        make = getattr(self, f"_{kind}")
        content_type, body, headers = make(rng, number)
        if rng.random() < 0.1:
            content_type = rng.choice(_TYPES)
        path = rng.choice(_PATHS if rng.random() < 0.15 else _POSTED[kind])
        method = "POST" if kind != "none" and rng.random() < 0.95 else rng.choice(_METHODS)
        lines = [f"{method} {_address(rng, path)} HTTP/1.1", "Host: localhost"]
        if rng.random() < 0.97:
            lines.append(f"Authorization: Bearer {self._key}")
        if content_type:
            lines.append(f"Content-Type: {content_type}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += _odd_headers(rng)
        cut = False
        if kind != "none" or body:
            framed, body, cut = _framed(rng, body)
            lines += framed
        content = "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + body
        if rng.random() < 0.02:
            content, cut = content[: rng.randrange(1, len(content))], True
        return OddRequest(kind, content, cut, method == "HEAD")

    def _picture(self, rng: random.Random, number: int) -> bytes:
        if rng.random() < 0.4:
            return self._pictures[rng.choice(sorted(self._pictures))]
        return make_image(self._pictures, self._seed, number)[1]

    def _raw(self, rng: random.Random, number: int) -> tuple[str, bytes, dict[str, str]]:
        return rng.choice(_TYPES[:3]), self._picture(rng, number), {}

    def _none(self, rng: random.Random, number: int) -> tuple[str, bytes, dict[str, str]]:
        return "", b"", {}

    def _noise(self, rng: random.Random, number: int) -> tuple[str, bytes, dict[str, str]]:
        return rng.choice(_TYPES), rng.randbytes(rng.choice((0, 1, 10, 1000, 70_000))), {}

    def _form(self, rng: random.Random, number: int) -> tuple[str, bytes, dict[str, str]]:
        boundary = rng.choice(("x", "a" * 70, "a" * 71, "'()+_,-./:=?"))
        parts = []
        for index in range(rng.choice((0, 1, 2, 3, 8, 40))):
            picture = self._picture(rng, number + index) if index < 3 else b"x"
            name = rng.choice(
                ('name="f"; filename="a.jpg"', 'name="f"', 'filename="', "name=é", "")
            )
            headers = f"Content-Disposition: form-data; {name}\r\n" * rng.choice((1, 1, 1, 0, 20))
            parts.append(f"--{boundary}\r\n{headers}\r\n".encode() + picture + b"\r\n")
        body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
        return f"multipart/form-data; boundary={boundary}", _hurt(rng, body), {}

    def _json(self, rng: random.Random, number: int) -> tuple[str, bytes, dict[str, str]]:
        images: list[Any] = [
            {"b64": base64.b64encode(self._picture(rng, number + index)).decode()}
            for index in range(rng.choice((1, 1, 2, 4)))
        ]
        document = rng.choice(({"images": images}, {"instances": images}, {"examples": images}))
        return "application/json", _hurt(rng, _written(_changed(rng, document))), {}

    def _infer(self, rng: random.Random, number: int) -> tuple[str, bytes, dict[str, str]]:
        return "application/json", _hurt(rng, _written(_changed(rng, _tensors(rng)))), {}

    def _binary(self, rng: random.Random, number: int) -> tuple[str, bytes, dict[str, str]]:
        document = _tensors(rng)
        sizes = (32 * 32 * 3, 32 * 32 * 3, 32 * 32 * 3, 0, 1, -1, 2**31, 2**64, 1.5, "7", None)
        for tensor in document["inputs"]:
            tensor.pop("data", None)
            tensor["parameters"] = {"binary_data_size": rng.choice(sizes)}
        head = _written(_changed(rng, document) if rng.random() < 0.5 else document)
        body = head + rng.randbytes(rng.choice((32 * 32 * 3, 32 * 32 * 3, 0, 1, 4 * 32 * 32 * 3)))
        length = rng.choice((
            *[len(head)] * 8, len(head) - 1, len(head) + 1, 0, -1, len(body), len(body) + 1,
            2**31, 2**63, 2**64, "", "x", "1e3", "0x10", "٣",
        ))  # fmt: skip
        return "application/octet-stream", body, {"Inference-Header-Content-Length": str(length)}


def _tensors(rng: random.Random) -> dict[str, Any]:
    shape: Any = rng.choice((
        [1, 32, 32, 3], [2, 32, 32, 3], [1, 3, 32, 32], [0], [], [-1, 32, 32, 3], [1, 2**40, 1, 3],
        [2**62, 2**62], [1.5], ["1"], None, [1], [1, 32, 32, 4],
    ))  # fmt: skip
    whole = [0] * 32 * 32 * 3
    data: Any = rng.choice((whole, [], [256], [-1], ["a"], [None], 5, "", [[[]]], [1e99]))
    kind = rng.choice(_DATATYPES)
    name = rng.choice(("image", "pixels", "", 5))
    if rng.random() < 0.5:
        name, shape, kind, data = "pixels", [1, 32, 32, 3], "UINT8", whole
    one = {"name": name, "shape": shape, "datatype": kind, "data": data}
    document: dict[str, Any] = {
        "inputs": [dict(one) for _ in range(rng.choice((1, 1, 1, 1, 0, 2, 50)))]
    }
    if rng.random() < 0.3:
        document["outputs"] = [{"name": rng.choice(("probabilities", "x", 1))}]
    if rng.random() < 0.3:
        document["parameters"] = {"classification": rng.choice((1, -1, "x", 10**9))}
    return document


def _changed(rng: random.Random, document: Any) -> Any:
    """The document with something else in one place of it, or in none."""
    if rng.random() < 0.3:
        return document
    holder, key = {"": document}, ""
    here: Any = holder
    while True:
        inside = here[key]
        if isinstance(inside, dict | list) and inside and rng.random() < 0.75:
            here, key = inside, rng.choice(list(inside) if isinstance(inside, dict)
                                           else range(len(inside)))  # type: ignore[arg-type]  # fmt: skip
            continue
        here[key] = rng.choice(_ATOMS)
        return holder[""]


def _written(document: Any) -> bytes:
    return json.dumps(document).encode()


def _hurt(rng: random.Random, body: bytes) -> bytes:
    """The body with some of its bytes changed, cut or doubled, or nested deeply; mostly whole."""
    if rng.random() < 0.6 or not body:
        return body
    place = rng.randrange(len(body))
    return rng.choice((
        body[:place],
        body[:place] + bytes([rng.randrange(256)]) + body[place + 1 :],
        body[:place] + body[place // 2 :],
        body[:place] + rng.choice((b"\0", b"\r\n", b"--", b'"', b"{", b"\xff")) + body[place:],
        b"[" * rng.choice((10, 5000)) + body,
        body + body,
    ))  # fmt: skip


def _address(rng: random.Random, path: str) -> str:
    path = path.replace(
        "M", MODEL if rng.random() < 0.9 else rng.choice(("", "..", "%2e", "é", "x"))
    )
    if rng.random() < 0.05:
        place = rng.randrange(len(path) + 1)
        odd = rng.choice(("/", "//", "%00", "%2f", "..", "%", "%zz", "?", "é", "\\", ":", ";a=b"))
        path = path[:place] + odd + path[place:]
    if rng.random() < 0.4:
        pairs = [
            (rng.choice(_PARAMETERS), rng.choice(_VALUES)) for _ in range(rng.choice((1, 1, 3)))
        ]
        path += "?" + "&".join(f"{k}={v if rng.random() < 0.1 else quote(v)}" for k, v in pairs)
    return path.replace("\r\n", "%0d%0a").replace(" ", "%20")


def _odd_headers(rng: random.Random) -> list[str]:
    if rng.random() < 0.85:
        return []
    return rng.choices((
        "X-Request-Id: a b", "X-Request-Id: " + "a" * 300, "traceparent: 00-zz-zz-01",
        "traceparent: 00-" + "0" * 32 + "-" + "0" * 16 + "-00", "Content-Encoding: gzip",
        "Accept: x/y", "Range: bytes=0-1", "Expect: 200-ok", "Cookie: " + "a=b; " * 100, "X: \x01",
        "Upgrade: websocket", "Connection: Upgrade", "Transfer-Encoding: identity", "Te: trailers",
        "Content-Length: 3", "X-Forwarded-For: 127.0.0.1", "é: é", "Host: other", "Origin: null",
    ), k=rng.choice((1, 1, 2)))  # fmt: skip


def _framed(rng: random.Random, body: bytes) -> tuple[list[str], bytes, bool]:
    """How long the body is said to be, in its headers and itself, and whether it is cut."""
    how = rng.random()
    if how < 0.8:
        return [f"Content-Length: {len(body)}"], body, False
    if how < 0.9:
        step = rng.choice((1000, 10_000, 100_000))
        chunks = [body[i : i + step] for i in range(0, len(body), step)]
        written = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        return ["Transfer-Encoding: chunked"], written + b"0\r\n\r\n", False
    length = rng.choice((0, 1, len(body) + 1, len(body) // 2, 10**9, 10**30, -1, "x", ""))
    return [f"Content-Length: {length}"], body, True
