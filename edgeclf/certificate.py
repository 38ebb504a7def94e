"""A few golden images with their answers, so that any device can prove it runs the same model."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeclf.errors import ArtifactError, VerificationError
from edgeclf.image import UInt8Array
from edgeclf.runtimes.base import Float32Array, RuntimeInfo

if TYPE_CHECKING:
    from edgeclf.classifier import Classifier

_MAX_IMAGES = 4
_MAX_BYTES = 100_000
_DIGITS = 6

# How far a probability may lie from the certified one. Float kernels differ in the order of
# their sums; integer kernels differ by a rounding step of an activation, which the softmax widens.
_TOLERANCES = {"fp32": 0.001, "fp16": 0.005, "dynamic": 0.03, "int8": 0.05, "int8-full": 0.05}


@dataclass(frozen=True)
class Verification:
    """How an artifact answered its golden images here.

    Attributes:
        images: How many it was asked.
        max_change: Largest absolute difference to a certified probability.
        tolerance: What was allowed.
        runtime: What it ran on.
    """

    images: int
    max_change: float
    tolerance: float
    runtime: RuntimeInfo


def make_certificate(
    images: UInt8Array, source: Float32Array, artifact: Float32Array
) -> dict[str, Any]:
    """Picks golden images and records the answers.

    One image a class, up to four classes: among those that both models put into the class, the
    one of median certainty, which is neither trivial nor about to tip over.

    Args:
        images: uint8 [N, H, W, 3] of the model's input size.
        source: float32 [N, classes], the source model's answers.
        artifact: float32 [N, classes], the artifact's answers.

    Returns:
        Plain JSON types for `Metadata.certificate`.
    """
    entries: list[dict[str, Any]] = []
    size = 0
    for index in _pick(source, artifact)[:_MAX_IMAGES]:
        png = _encode(images[index])
        size += len(png)
        if entries and size > _MAX_BYTES:
            break
        entries.append(
            {
                "png": base64.b64encode(png).decode(),
                "source": [round(float(p), _DIGITS) for p in source[index]],
                "artifact": [round(float(p), _DIGITS) for p in artifact[index]],
            }
        )
    return {"images": entries}


def replay(classifier: Classifier) -> Verification:
    """Asks a loaded model its golden images again.

    Returns:
        How close the answers are.

    Raises:
        ArtifactError: The artifact has no certificate.
        VerificationError: An answer differs by more than the precision's tolerance, or in its
            top-1.
    """
    metadata = classifier.artifact.metadata
    entries = (metadata.certificate or {}).get("images", [])
    if not entries:
        raise ArtifactError(
            f"{classifier.artifact.path or 'The artifact'} has no certificate to replay. "
            "Certificates are made by 'edgeclf convert'."
        )
    images = np.stack([_decode(entry) for entry in entries])
    certified = np.array([entry["artifact"] for entry in entries], np.float32)
    answers = classifier.probabilities(images)
    tolerance = _TOLERANCES[metadata.precision]
    change = float(np.abs(answers - certified).max())
    runtime = classifier.describe()
    wrong = np.flatnonzero(answers.argmax(axis=1) != certified.argmax(axis=1))
    if len(wrong) or change > tolerance:
        raise VerificationError(
            f"{runtime.library} {runtime.library_version} on {runtime.device} does not compute "
            f"the certified model: of {len(entries)} golden images {len(wrong)} change their "
            f"class, and a probability differs by {change:.4f} (allowed: {tolerance}). "
            "Update the runtime, or convert again with the one that this device has."
        )
    return Verification(len(entries), change, tolerance, runtime)


def _pick(source: Float32Array, artifact: Float32Array) -> list[int]:
    answer = source.argmax(axis=1)
    agreed = answer == artifact.argmax(axis=1)
    certainty = source.max(axis=1)
    picked = []
    for label in range(source.shape[1]):
        members: npt.NDArray[np.intp] = np.flatnonzero(agreed & (answer == label))
        if len(members):
            order = members[np.argsort(certainty[members], kind="stable")]
            picked.append(int(order[len(order) // 2]))
    return picked


def _encode(image: UInt8Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _decode(entry: Mapping[str, Any]) -> UInt8Array:
    with Image.open(io.BytesIO(base64.b64decode(entry["png"])), formats=["PNG"]) as image:
        return np.asarray(image.convert("RGB"))
