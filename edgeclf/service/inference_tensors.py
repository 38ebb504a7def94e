"""What the Open Inference Protocol's tensors are for a classifier: pictures in, answers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any

import numpy as np

from edgeclf.image import ImageSource, ImageSpec
from edgeclf.inference.prediction import Prediction
from edgeclf.service.answers import finite
from edgeclf.service.binary_tensors import Output, Tensor, read_elements, read_tensors
from edgeclf.service.catalog import Version
from edgeclf.service.intake import check_count, decode_base64
from edgeclf.service.pixel_lists import read_pixels
from edgeclf.service.problem import Problem
from edgeclf.service.whole_requests import at_index

IMAGE, PIXELS = "image", "pixels"
_MOST_OUTPUTS = 16
_LEAST_TIMEOUT_S, _MOST_TIMEOUT_S = 1e-3, 3600.0


@dataclass(frozen=True)
class Requested:
    """An output that a client names.

    Attributes:
        name: The output's.
        binary: Whether it comes as bytes behind the JSON.
        classes: Of the extension "classification": how many classes as text; None without it.
    """

    name: str
    binary: bool
    classes: int | None = None


@dataclass(frozen=True)
class Asked:
    """A request to infer.

    Attributes:
        images: Bytes of an image file each, or pixels as the model takes them.
        outputs: In the client's order; None for all that there are.
        binary: Whether outputs come as bytes where nothing else is said of them.
        id: What the client calls the request, to be repeated.
        timeout_s: The client's own deadline.
    """

    images: Sequence[ImageSource]
    outputs: tuple[Requested, ...] | None
    binary: bool
    id: str | None
    timeout_s: float | None


def inputs_of(spec: ImageSpec) -> list[dict[str, Any]]:
    """The two forms in which a picture may come, for the metadata of a model."""
    return [
        {"name": IMAGE, "datatype": "BYTES", "shape": [-1]},
        {"name": PIXELS, "datatype": "UINT8", "shape": [-1, spec.height, spec.width, 3]},
    ]


def outputs_of(version: Version) -> list[dict[str, Any]]:
    """What a version answers, for the metadata of a model."""
    metadata = version.artifact.metadata
    found: list[dict[str, Any]] = [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(metadata.labels)]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ]
    trust = metadata.trust
    if trust is not None:
        found.append({"name": "confidence", "datatype": "FP32", "shape": [-1]})
        by_features = trust["novelty"]["score"] != "confidence"
        if not by_features or any(engine.gives_features for engine in version.engines[:1]):
            found.append({"name": "novelty", "datatype": "FP32", "shape": [-1]})
            found.append({"name": "unknown", "datatype": "BOOL", "shape": [-1]})
    return found


def read_asked(document: dict[str, Any], rest: memoryview, version: Version, most: int) -> Asked:
    """Reads a request to infer.

    Args:
        document: Its JSON.
        rest: What follows the JSON.
        version: Who is asked.
        most: Pictures at most.

    Raises:
        Problem: 400 it is not what the protocol says; 413 too many pictures.
    """
    name = document.get("id")
    if name is not None and not isinstance(name, str):
        raise _bad(f"'id' is {short(name)}; expected text.")
    parameters = _object(document, "parameters")
    binary = _flag(parameters, "binary_data_output", False)
    images = _images(read_tensors(document, rest), version.artifact.metadata.image, most)
    return Asked(
        images, _requested(document, binary, version), binary, name, _timeout_s(parameters)
    )


def _images(tensors: Sequence[Tensor], spec: ImageSpec, most: int) -> Sequence[ImageSource]:
    forms = {IMAGE: "BYTES", PIXELS: "UINT8"}
    if len(tensors) != 1 or forms.get(tensors[0].name) != tensors[0].datatype:
        given = ", ".join(f"{short(each.name)} {short(each.datatype)}" for each in tensors[:8])
        raise _bad(
            f"The inputs are {given}; expected one: {IMAGE!r} BYTES (image files) or {PIXELS!r} "
            f"UINT8 [-1, {spec.height}, {spec.width}, 3] (RGB, 0..255)."
        )
    (tensor,) = tensors
    return _files(tensor, most) if tensor.name == IMAGE else _frames(tensor, spec, most)


def _files(tensor: Tensor, most: int) -> Sequence[bytes]:
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ((), (1,)) or not tensor.size:
        raise _bad(
            f"The input {IMAGE!r} has the shape {list(tensor.shape)}; expected [N] or [N, 1] with "
            "at least one picture."
        )
    check_count(tensor.size, most)
    if isinstance(tensor.data, memoryview):
        return read_elements(tensor)
    texts = tensor.data
    if len(tensor.shape) == 2 and all(isinstance(t, list) and len(t) == 1 for t in texts):
        texts = [row[0] for row in texts]
    if len(texts) != tensor.size:
        raise _bad(
            f"The input {IMAGE!r} of shape {list(tensor.shape)} has {len(texts)} values; expected "
            f"{tensor.size}."
        )
    files = []
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise _bad(
                f"Picture {index} (from 0) is {short(text)}; expected its file in base64, or "
                "better as bytes behind the JSON."
            )
        found = decode_base64(text)
        if isinstance(found, Problem):
            raise at_index(index, found)
        files.append(found)
    return files


def _frames(tensor: Tensor, spec: ImageSpec, most: int) -> Sequence[ImageSource]:
    count = tensor.shape[0] if tensor.shape else 0
    shape = (count, spec.height, spec.width, 3)
    if tensor.shape != shape or not count:
        raise _bad(
            f"The input {PIXELS!r} has the shape {list(tensor.shape)}; expected "
            f"[N, {spec.height}, {spec.width}, 3] with at least one picture. Pictures of another "
            f"size go as files into {IMAGE!r}."
        )
    check_count(count, most)
    if isinstance(tensor.data, list):
        return list(read_pixels(tensor.data, shape, f"The input {PIXELS!r}"))
    if len(tensor.data) != tensor.size:
        raise _bad(
            f"The input {PIXELS!r} of shape {list(shape)} has {len(tensor.data)} bytes; expected "
            f"{tensor.size}."
        )
    return list(np.frombuffer(tensor.data, np.uint8).reshape(shape))


def _requested(
    document: dict[str, Any], binary: bool, version: Version
) -> tuple[Requested, ...] | None:
    outputs = document.get("outputs")
    if outputs is None or outputs == []:
        return None
    if not isinstance(outputs, list) or len(outputs) > _MOST_OUTPUTS:
        raise _bad(f"'outputs' is {short(outputs)}; expected a list of at most {_MOST_OUTPUTS}.")
    known = [output["name"] for output in outputs_of(version)]
    found = []
    for entry in outputs:
        name = entry.get("name") if isinstance(entry, dict) else entry
        if not isinstance(entry, dict) or not isinstance(name, str) or name not in known:
            raise _bad(f"There is no output {short(name)}; this model has {', '.join(known)}.")
        parameters = _object(entry, "parameters")
        classes = parameters.get("classification")
        if classes is not None and (
            name != "probabilities" or type(classes) is not int or classes < 1
        ):
            raise _bad(
                f"The output {name!r} is asked as a classification of {short(classes)}; expected "
                "a whole number from 1, of the output 'probabilities'."
            )
        found.append(Requested(name, _flag(parameters, "binary_data", binary), classes))
    return tuple(found)


def _timeout_s(parameters: dict[str, Any]) -> float | None:
    """Triton's parameter, in microseconds; what is longer than the service's own is no matter."""
    timeout = parameters.get("timeout")
    if timeout in (None, 0):
        return None
    if type(timeout) is not int or timeout < 0:
        raise _bad(f"The timeout is {short(timeout)}; expected whole microseconds.")
    return min(max(timeout, _LEAST_TIMEOUT_S * 1e6), _MOST_TIMEOUT_S * 1e6) / 1e6


def _object(entry: dict[str, Any], key: str) -> dict[str, Any]:
    value = entry.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _bad(f"{key!r} is {short(value)}; expected an object.")
    return value


def _flag(parameters: dict[str, Any], key: str, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise _bad(f"{key!r} is {short(value)}; expected true or false.")
    return value


def answer_outputs(
    asked: Asked, version: Version, predictions: Sequence[Prediction]
) -> list[Output]:
    """The outputs of an answer.

    Raises:
        Problem: 500 the model gave what is no number.
    """
    requested = asked.outputs
    if requested is None:
        names = [output["name"] for output in outputs_of(version)]
        requested = tuple(Requested(name, asked.binary) for name in names)
    return [_output(each, version, predictions) for each in requested]


def _output(requested: Requested, version: Version, predictions: Sequence[Prediction]) -> Output:
    count = len(predictions)
    name, binary = requested.name, requested.binary
    if name == "probabilities" and requested.classes is not None:
        texts = [text for p in predictions for text in _scored(p, requested.classes)]
        return Output(name, "BYTES", (count, len(texts) // count), texts, binary)
    if name == "probabilities":
        numbers = [finite(value) for p in predictions for value in p.probabilities]
        return Output(name, "FP32", (count, len(numbers) // count), numbers, binary)
    if name == "label":
        return Output(name, "BYTES", (count,), [p.label for p in predictions], binary)
    values = [getattr(p, name) for p in predictions]
    if None in values:
        raise Problem(
            500, "inference_failed",
            f"Version {version.number} of {version.model!r} gave no {name}; ask without it.",
        )  # fmt: skip
    if name == "unknown":
        return Output(name, "BOOL", (count,), values, binary)
    return Output(name, "FP32", (count,), [finite(value) for value in values], binary)


def _scored(prediction: Prediction, count: int) -> list[str]:
    """``value:index:label`` of the most probable classes, as Triton writes them."""
    return [
        f"{finite(score.probability):.9g}:{score.index}:{score.label}"
        for score in prediction.top(count)
    ]


def _bad(message: str) -> Problem:
    return Problem(400, "bad_tensor", message)
