"""A few golden images with their answers, so that any device can prove it runs the same model.

Golden images are tensors, stored without loss: what differs on them differs in the kernels. One
ordinary JPEG goes the whole way from its bytes, with fingerprints of the stages between, so that
a difference in the decoder or in the preprocessing is told apart.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeclf.artifact import Artifact, Metadata
from edgeclf.errors import ArtifactError, VerificationError
from edgeclf.image import ImageSpec, UInt8Array, decode_image, resize_image
from edgeclf.inference.confidence import Confidence
from edgeclf.runtimes.base import Float32Array, RuntimeInfo

if TYPE_CHECKING:
    from edgeclf.inference.classifier import Classifier

_MAX_IMAGES = 4
# Most bytes of a picture, for each pixel of the input, and their bounds: a small network should not
# be carried by a large certificate. A PNG that takes more is reduced to a palette, which is then
# what is golden; a JPEG is made in a lower quality.
_PNG_BYTES, _JPEG_BYTES = (0.6, 2_000, 12_000), (0.9, 4_000, 12_000)
_PALETTES = (256, 64, 32, 16, 4)
_MAX_CHARACTERS = 150_000  # of the whole certificate as JSON
# The JPEG is made so that every step has work to do: large enough for a scaled decode, wider than
# the input for the resize policy, and turned, with the EXIF tag that turns it back.
_JPEG_HEIGHT, _JPEG_WIDTH = 4.25, 5.5  # relative to the model's input
_JPEG_QUALITIES = (85, 60, 35, 15, 5)
_ORIENTATION_TAG, _TURNED_LEFT = 0x0112, 8
_DIGITS = 6
_BLOCKS = 8  # a fingerprint's means are those of 8 x 8 blocks

# How far a probability may lie from the certified one. Float kernels differ in the order of
# their sums; integer kernels differ by a rounding step of an activation, which the softmax widens.
_TOLERANCES = {"fp32": 0.001, "fp16": 0.005, "dynamic": 0.03, "int8": 0.05, "int8-full": 0.05}
# How far a block's mean may lie from the certified one, in levels of 255. JPEG decoders round
# differently, by less than one level in the mean of a block.
_LEVELS = 1.0


def most_png_bytes(height: int, width: int) -> int:
    """The bytes that a golden image of an input's size may take, as PNG."""
    return _most(_PNG_BYTES, height * width)


def most_jpeg_bytes(height: int, width: int) -> int:
    """The bytes that the JPEG of a certificate may take, by the input's size."""
    return _most(_JPEG_BYTES, height * width)


def _most(rule: tuple[float, int, int], pixels: int) -> int:
    each, least, most = rule
    return round(min(max(each * pixels, least), most))


@dataclass(frozen=True)
class Verification:
    """How an artifact answered its golden images here.

    Attributes:
        images: How many it was asked.
        max_change: Largest absolute difference to a certified probability.
        tolerance: What was allowed.
        photo: How the JPEG came through: ``identical`` bytes at every stage, or ``equivalent``:
            another decoder's rounding, within a level.
        runtime: What it ran on.
        accuracy: Top-1 with its interval on the photos that were given, None without any.
        confidence_change: Largest difference to a certified confidence; None where the file was
            not calibrated.
        novelty_change: Likewise, 1 being the threshold; None also where the runtime gives no
            features.
    """

    images: int
    max_change: float
    tolerance: float
    photo: str
    runtime: RuntimeInfo
    accuracy: Mapping[str, Any] | None = None
    confidence_change: float | None = None
    novelty_change: float | None = None


def make_certificate(
    classifier: Classifier,
    source: Callable[[UInt8Array], Float32Array],
    images: UInt8Array,
    answers: tuple[Float32Array, Float32Array],
) -> dict[str, Any]:
    """Picks golden images and records the answers.

    One image a class, up to four classes: among those that both models put into the class, the
    one of median certainty, which is neither trivial nor about to tip over.

    Args:
        classifier: The artifact.
        source: The source model, from uint8 [N, H, W, 3] to probabilities.
        images: uint8 [N, H, W, 3] of the model's input size.
        answers: float32 [N, classes] of source and artifact to `images`.

    Returns:
        Plain JSON types for `Metadata.certificate`.
    """
    stored = [_encode(images[index]) for index in _pick(*answers)[:_MAX_IMAGES]]
    golden = np.stack([_decode(png) for png in stored])
    spec = classifier.artifact.metadata.image
    jpeg = _as_jpeg(golden[0])
    decoded, tensor = _stages(jpeg, spec)
    asked = np.concatenate([golden, tensor[np.newaxis]])
    of_source, of_artifact = source(asked), classifier.probabilities(asked)
    entries = [
        {"png": _text(png), "source": _rounded(of_source[i]), "artifact": _rounded(of_artifact[i])}
        for i, png in enumerate(stored)
    ]
    photo = {
        "jpeg": _text(jpeg),
        "decoded": _fingerprint(decoded),
        "tensor": _fingerprint(tensor),
        "source": _rounded(of_source[-1]),
        "artifact": _rounded(of_artifact[-1]),
    }
    certificate = {"images": entries, "photo": photo}
    while len(json.dumps(certificate)) > _MAX_CHARACTERS and len(entries) > 1:
        entries.pop()  # a thousand classes, or a large input
    return certificate


def certify_trust(classifier: Classifier, metadata: Metadata) -> Mapping[str, Any] | None:
    """Adds confidence and novelty to each golden image.

    Args:
        classifier: The artifact.
        metadata: What it will be sealed with, calibrated.

    Returns:
        The certificate; as it was where it is not complete.
    """
    certificate = metadata.certificate
    if not certificate or not certificate.get("images"):
        return certificate
    images = np.stack([_decode(base64.b64decode(e["png"])) for e in certificate["images"]])
    confidences, novelties = _judged(classifier, metadata, images)
    entries = [
        {**entry, "confidence": round(float(confidences[i]), _DIGITS),
         "novelty": None if novelties is None else round(float(novelties[i]), _DIGITS)}
        for i, entry in enumerate(certificate["images"])
    ]  # fmt: skip
    return {**certificate, "images": entries}


def _judged(classifier: Classifier, metadata: Metadata, images: UInt8Array) -> tuple[Any, Any]:
    confidence = Confidence.of(Artifact(classifier.artifact.format, metadata, b""))
    assert confidence is not None
    if confidence.needs_features and classifier.gives_features:
        return confidence.judge(*classifier.features(images))
    return confidence.judge(classifier.probabilities(images), None)


def _replay_trust(
    classifier: Classifier, entries: Sequence[Mapping[str, Any]], images: UInt8Array
) -> tuple[float | None, float | None]:
    """Largest changes of confidence and novelty; raises where one is too large."""
    metadata = classifier.artifact.metadata
    if metadata.trust is None or "confidence" not in entries[0]:
        return None, None
    found = _judged(classifier, metadata, images)
    # Where two classes are equal, a change of a probability moves confidence 1 / T times as far.
    least = min(1.0, metadata.trust["temperature"]["value"])
    tolerance = _TOLERANCES[metadata.precision] / least
    changes: list[float | None] = []
    for name, numbers in zip(("confidence", "novelty"), found, strict=True):
        certified = [entry[name] for entry in entries]
        if numbers is None or None in certified:
            changes.append(None)
            continue
        change = float(np.abs(numbers - np.array(certified)).max())
        if change > tolerance:
            raise VerificationError(
                f"The golden images are answered as certified, but a {name} differs by "
                f"{change:.4f} (allowed: {tolerance:.4g}). Update the runtime, or calibrate the "
                "file again with the one that this device has."
            )
        changes.append(change)
    return changes[0], changes[1]


def replay(classifier: Classifier) -> Verification:
    """Asks a loaded model its golden images again.

    Returns:
        How close the answers are.

    Raises:
        ArtifactError: The artifact has no certificate.
        VerificationError: An answer differs by more than the precision's tolerance, or in its
            top-1; says whether in the kernels, the decoder or the preprocessing.
    """
    metadata = classifier.artifact.metadata
    certificate = metadata.certificate or {}
    entries = certificate.get("images", [])
    if not entries or "photo" not in certificate:
        raise ArtifactError(
            f"{classifier.artifact.path or 'The artifact'} has no complete certificate to replay. "
            "Certificates are made by 'edgeclf convert'."
        )
    golden = np.stack([_decode(base64.b64decode(entry["png"])) for entry in entries])
    certified = np.array([entry["artifact"] for entry in entries], np.float32)
    answers = classifier.probabilities(golden)
    tolerance = _TOLERANCES[metadata.precision]
    change = float(np.abs(answers - certified).max())
    runtime = classifier.describe()
    where = f"{runtime.library} {runtime.library_version} on {runtime.device}"
    wrong = np.flatnonzero(answers.argmax(axis=1) != certified.argmax(axis=1))
    if len(wrong) or change > tolerance:
        raise VerificationError(
            f"{where} does not compute the certified model; the difference is in its kernels. Of "
            f"{len(entries)} golden images {len(wrong)} change their class, and a probability "
            f"differs by {change:.4f} (allowed: {tolerance}). Update the runtime, or convert again "
            "with the one that this device has."
        )
    photo = _replay_photo(classifier, certificate["photo"], tolerance)
    trust = _replay_trust(classifier, entries, golden)
    return Verification(len(entries), change, tolerance, photo, runtime, None, *trust)


def _replay_photo(classifier: Classifier, photo: Mapping[str, Any], tolerance: float) -> str:
    decoded, tensor = _stages(base64.b64decode(photo["jpeg"]), classifier.artifact.metadata.image)
    same = True
    for stage, computed, certified, remedy in (
        ("decoder", _fingerprint(decoded), photo["decoded"],
         "Install a Pillow wheel, which brings a current libjpeg."),
        ("preprocessing", _fingerprint(tensor), photo["tensor"],
         "Install the version of edgeclf that wrote the artifact, or a later one."),
    ):  # fmt: skip
        same = same and computed["sha256"] == certified["sha256"]
        levels = _distance(computed, certified)
        if levels > _LEVELS:
            raise VerificationError(
                f"The golden images are answered as certified, the JPEG is not: the difference is "
                f"in the {stage}, by {levels:.1f} of 255 levels (allowed: {_LEVELS}). {remedy}"
            )
    answer = classifier.probabilities(tensor[np.newaxis])[0]
    certified_answer = np.array(photo["artifact"], np.float32)
    change = float(np.abs(answer - certified_answer).max())
    if change > tolerance or answer.argmax() != certified_answer.argmax():
        raise VerificationError(
            f"Decoder and preprocessing agree within {_LEVELS} level, yet the JPEG's answer "
            f"differs by {change:.4f} (allowed: {tolerance}) or in its class: the kernels amplify "
            "what is left."
        )
    return "identical" if same else "equivalent"


def _stages(jpeg: bytes, spec: ImageSpec) -> tuple[UInt8Array, UInt8Array]:
    decoded = decode_image(jpeg, spec)
    return np.asarray(decoded), resize_image(decoded, spec)


def _fingerprint(image: UInt8Array) -> dict[str, Any]:
    """A hash, which tells whether anything differs, and block means, which tell how much."""
    rows, columns = (
        np.array_split(np.arange(size), min(_BLOCKS, size)) for size in image.shape[:2]
    )
    means = [float(image[np.ix_(r, c)].mean()) for r in rows for c in columns]
    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()
    return {"sha256": digest, "shape": list(image.shape), "means": [round(m, 2) for m in means]}


def _distance(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    if first["shape"] != second["shape"]:
        return 255.0
    return float(np.abs(np.subtract(first["means"], second["means"])).max())


def _pick(source: Float32Array, artifact: Float32Array) -> list[int]:
    answer = source.argmax(axis=1)
    agreed = answer == artifact.argmax(axis=1)
    certainty = source.max(axis=1)
    picked = []
    for label in np.unique(answer[agreed]) if agreed.any() else np.unique(answer):
        members: npt.NDArray[np.intp] = np.flatnonzero((agreed | ~agreed.any()) & (answer == label))
        order = members[np.argsort(certainty[members], kind="stable")]
        picked.append(int(order[len(order) // 2]))
    return picked


def _encode(image: UInt8Array) -> bytes:
    """PNG; of an image that would need too much room, one with fewer colours."""
    return _encoded(image.tobytes(), image.shape[1], image.shape[0])


@lru_cache(maxsize=2 * _MAX_IMAGES)  # the artifacts of one source have mostly the same
def _encoded(pixels: bytes, width: int, height: int) -> bytes:
    picture = Image.frombytes("RGB", (width, height), pixels)
    png = _png(picture)
    for colors in _PALETTES:
        if len(png) <= most_png_bytes(height, width):
            break
        png = _png(picture.quantize(colors, dither=Image.Dither.NONE))
    return png


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _as_jpeg(image: UInt8Array) -> bytes:
    size = (round(image.shape[1] * _JPEG_WIDTH), round(image.shape[0] * _JPEG_HEIGHT))
    larger = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = _TURNED_LEFT
    for quality in _JPEG_QUALITIES:
        buffer = io.BytesIO()
        turned = larger.transpose(Image.Transpose.ROTATE_270)
        turned.save(buffer, "JPEG", quality=quality, exif=exif, optimize=True)
        if buffer.tell() <= most_jpeg_bytes(*image.shape[:2]):
            break
    return buffer.getvalue()


def _decode(png: bytes) -> UInt8Array:
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        return np.asarray(image.convert("RGB"))


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _rounded(probabilities: Float32Array) -> list[float]:
    return [round(float(p), _DIGITS) for p in probabilities]
