"""What comes from a network, and nothing else does: the model, its labels, and pictures.

Only `birds.py fetch`, and addresses that are given to `birds.py ask`, lead here.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import edgeclf
from edgeclf.converters.labels import read_labels
from edgeclf.image import is_url, load_image
from edgeclf.system import files
from edgeclf.system.progress import log

INPUT, SHAPE, SCORES = "images", (224, 224, 3), 965
MOST_MODEL, MOST_LABELS, MOST_PICTURE = 500_000_000, 5_000_000, 50_000_000  # bytes
TIMEOUT_S = 30.0
AT_ONCE = 8
_PIECE = 2**16
_ARCHIVE = "?tf-hub-format=compressed"  # what TensorFlow Hub answers with a .tar.gz
_SIGNATURES = ("serving_default", "default", "image_classifier")


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    Attributes:
        url: From where.
        path: To where.
        size_bytes: Of the file.
        sha256: Of its content.
        ms: How long it took, from the name of the host to the last byte.
    """

    url: str
    path: Path
    size_bytes: int
    sha256: str
    ms: float

    def record(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {"url": self.url, "file": self.path.name, "size_bytes": self.size_bytes,
                "sha256": self.sha256, "ms": self.ms}  # fmt: skip


def fetch(url: str, path: Path, most_bytes: int, sha256: str | None = None) -> Fetched:
    """Fetches one file; what is refused, cut off or too large leaves nothing behind.

    Args:
        url: http or https.
        path: Where it goes.
        most_bytes: A larger one is given up.
        sha256: Which it must have; None for any.

    Raises:
        DataError: It cannot be had, or is not what was expected.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise edgeclf.OptionError(f"The address is {url!r}; expected http:// or https://.")
    start, size = time.perf_counter(), 0
    with files.replacing(path) as part:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "edgeclf-birds"})
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                declared = answer.headers.get("Content-Length")
                with open(part, "wb") as file:
                    while piece := answer.read(_PIECE):
                        size += len(piece)
                        if size > most_bytes:
                            raise edgeclf.DataError(
                                f"{url} is larger than {most_bytes:,} bytes; expected something "
                                "smaller. Check the address."
                            )
                        file.write(piece)
        except urllib.error.HTTPError as exc:
            raise edgeclf.DataError(
                f"{url} answers {exc.code} {exc.reason}; expected 200. Check the address."
            ) from exc
        except (OSError, HTTPException, ValueError) as exc:
            reason = getattr(exc, "reason", exc)
            raise edgeclf.DataError(
                f"Cannot fetch {url}: {reason}. This needs a network; without one, 'birds.py run' "
                "tries everything on a stand-in."
            ) from exc
        if declared is not None and declared.isdecimal() and int(declared) != size:
            raise edgeclf.DataError(
                f"{url} broke off: {size:,} bytes came of {int(declared):,}. Try again."
            )
        found = files.sha256_of(part)
        if sha256 is not None and found != sha256.lower():
            raise edgeclf.DataError(
                f"{url} has the SHA-256 {found}; expected {sha256.lower()}. Nothing was kept."
            )
    return Fetched(url, path, size, found, 1e3 * (time.perf_counter() - start))


def fetch_model(
    savedmodel: str, labels: str, out: Path, sha256: str | None = None
) -> dict[str, Any]:
    """Fetches a SavedModel and its labels, looks at both, and then puts them in place of others.

    Args:
        savedmodel: Address of a .tar.gz with a SavedModel; of tfhub.dev, that of the model.
        labels: Address of a CSV with columns id and name.
        out: Folder for ``birds/``, ``map.csv`` and ``fetched.json``.
        sha256: Of the archive; None for any, and then it is told.

    Returns:
        What was fetched, as plain JSON types.

    Raises:
        DataError: It cannot be had, or is not what was expected.
    """
    if urlsplit(savedmodel).hostname == "tfhub.dev" and not urlsplit(savedmodel).query:
        savedmodel += _ARCHIVE
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".fetch-") as folder:
        part = Path(folder)
        archive = fetch(savedmodel, part / "model.tar.gz", MOST_MODEL, sha256)
        table = fetch(labels, part / "map.csv", MOST_LABELS)
        model = unpack(archive.path, part / "model")
        names = read_labels(table.path)
        check_signature(model, len(names))
        record = {"model": archive.record(), "labels": table.record(), "classes": len(names)}
        (out / "STAND-IN.txt").unlink(missing_ok=True)
        (out / "fetched.json").unlink(missing_ok=True)
        shutil.rmtree(out / "birds", ignore_errors=True)
        model.rename(out / "birds")
        table.path.replace(out / "map.csv")
        files.write_json(out / "fetched.json", record)
    return record


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks an archive, nothing of which may lie outside; the folder of the SavedModel in it.

    Raises:
        DataError: It is no archive, too large, or holds no SavedModel.
    """
    folder.mkdir(parents=True)
    try:
        with tarfile.open(archive, "r:*") as tar:
            members = tar.getmembers()
            if sum(member.size for member in members) > MOST_MODEL:
                raise edgeclf.DataError(
                    f"{archive.name} unpacks to more than {MOST_MODEL:,} bytes; expected a "
                    "SavedModel."
                )
            tar.extractall(folder, members, filter="data")
    except (tarfile.TarError, EOFError, OSError) as exc:
        raise edgeclf.DataError(
            f"What came as the model is no .tar.gz that can be unpacked: {exc}. Expected the "
            "archive of a SavedModel; from tfhub.dev, the address of the model itself."
        ) from exc
    found = sorted(folder.rglob("saved_model.pb"))
    if len(found) != 1:
        raise edgeclf.DataError(
            f"The archive holds {len(found)} files saved_model.pb; expected one SavedModel."
        )
    return found[0].parent


def check_signature(model: Path, classes: int) -> None:
    """Refuses a SavedModel that does not take and answer what the bird model does.

    Only its description is read; nothing of it runs.

    Args:
        model: Its folder.
        classes: How many labels there are.

    Raises:
        DataError: It has another signature, or other scores than labels.
    """
    found = _signature(model)
    expected = f"one input {INPUT!r}, float32 [N, {', '.join(map(str, SHAPE))}], and one score " \
               f"for each of the {SCORES} labels, background among them"  # fmt: skip
    if found is None:
        raise edgeclf.DataError(f"{model.name} is no SavedModel that can be read.")
    inputs, outputs = found
    shapes = {name: shape for name, (kind, shape) in inputs.items() if kind == "float32"}
    fits = len(inputs) == 1 and shapes.get(INPUT, ())[1:] in (SHAPE, (None, None, 3))
    if not fits or SCORES not in {shape[-1] for _, shape in outputs.values() if shape}:
        raise edgeclf.DataError(
            f"The model takes {_words(inputs)} and answers {_words(outputs)}; expected {expected}."
        )
    if classes != SCORES:
        raise edgeclf.DataError(
            f"The labels are {classes}, and the model has {SCORES} scores; expected as many. Is "
            "this the table of that model?"
        )


Tensors = dict[str, tuple[str, tuple[int | None, ...]]]


def _signature(model: Path) -> tuple[Tensors, Tensors] | None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    from edgeclf.networks.backend import tf  # TensorFlow, which then says less

    proto = SavedModel()
    try:
        proto.ParseFromString((model / "saved_model.pb").read_bytes())
    except Exception:  # protobuf's own
        return None
    for graph in reversed(proto.meta_graphs):
        for name in _SIGNATURES:
            if name in graph.signature_def:
                signature = graph.signature_def[name]
                return _tensors(tf, signature.inputs), _tensors(tf, signature.outputs)
    return {}, {}


def _tensors(tf: Any, described: Any) -> Tensors:
    return {
        name: (
            tf.dtypes.as_dtype(tensor.dtype).name,
            tuple(None if dim.size < 0 else dim.size for dim in tensor.tensor_shape.dim),
        )
        for name, tensor in described.items()
    }


def _words(tensors: Tensors) -> str:
    words = [
        f"{name!r} {kind} [{', '.join('N' if side is None else str(side) for side in shape)}]"
        for name, (kind, shape) in sorted(tensors.items())
    ]
    return ", ".join(words) or "nothing"


def fetch_pictures(urls: Sequence[str], out: Path) -> Iterator[Fetched | edgeclf.EdgeclfError]:
    """Fetches pictures, several at once, and gives one result for each address, in their order.

    What came and is no picture, such as a page that asks to sign in, is an error of its own.
    """
    out.mkdir(parents=True, exist_ok=True)

    def one(index: int) -> Fetched | edgeclf.EdgeclfError:
        name = Path(urlsplit(urls[index]).path).name or "picture"
        safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)[-60:]
        try:
            found = fetch(urls[index], out / f"{index:03d}-{safe}", MOST_PICTURE)
        except edgeclf.EdgeclfError as exc:
            return exc
        try:
            load_image(found.path, edgeclf.ImageSpec(*SHAPE[:2]))
        except edgeclf.EdgeclfError as exc:
            found.path.unlink()
            return edgeclf.DataError(f"What {urls[index]} gave is no picture: {exc}")
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(one, range(len(urls)))


@contextmanager
def fetched_beside(words: Sequence[str]) -> Iterator[list[Path | edgeclf.EdgeclfError]]:
    """Paths as they are, and of addresses what was fetched, for as long as the block runs."""
    urls = [word for word in words if is_url(word)]
    with tempfile.TemporaryDirectory(prefix="birds-") as folder:
        start = time.perf_counter()
        fetched = fetch_pictures(urls, Path(folder)) if urls else iter(())
        found = [next(fetched) if is_url(word) else Path(word) for word in words]
        if urls:
            ms = 1e3 * (time.perf_counter() - start)
            log(f"fetched {len(urls)} in {ms:,.0f} ms, {AT_ONCE} at once")
        yield [each.path if isinstance(each, Fetched) else each for each in found]
