"""What an artifact knows about itself, as one JSON document. docs/artifact.md specifies it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from edgeclf.errors import ArtifactError, OptionError, listed
from edgeclf.image import ImageSpec, UInt8Array

FORMAT_VERSION = 1
# What steers a terminal, and half of a letter.
CONTROL = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_URL = re.compile(r"https?://\S+")

Format = Literal["tflite", "onnx", "keras"]
Precision = Literal["fp32", "fp16", "dynamic", "int8", "int8-full"]


@dataclass(frozen=True)
class Normalization:
    """The first step inside the graph: x -> (x - mean) / std on raw values 0..255.

    The defaults map bytes to multiples of 1/128 in -0.992..1, which an int8 input expresses
    exactly through its own scale and zero point.

    Attributes:
        mean: One number, or one for each of red, green and blue.
        std: Likewise; none of them zero.

    Examples:
        >>> import numpy as np
        >>> from edgeclf.artifact import Normalization
        >>> Normalization().apply(np.array([[[0, 127, 255]]], np.uint8)).tolist()
        [[[-0.9921875, 0.0, 1.0]]]
    """

    mean: float | tuple[float, float, float] = 127.0
    std: float | tuple[float, float, float] = 128.0

    def __post_init__(self) -> None:
        numbers = (*self.means, *self.stds)
        if not all(isinstance(n, int | float) for n in numbers) or 0 in self.stds:
            raise OptionError(f"Mean and std are {self.mean} and {self.std}; expected numbers, "
                              "and no std of zero.")  # fmt: skip

    @property
    def means(self) -> tuple[float, ...]:
        """One number, or three."""
        return self.mean if isinstance(self.mean, tuple) else (self.mean,)

    @property
    def stds(self) -> tuple[float, ...]:
        """One number, or three."""
        return self.std if isinstance(self.std, tuple) else (self.std,)

    def apply(self, images: UInt8Array) -> npt.NDArray[np.float32]:
        """The same outside of a graph: uint8 [..., 3] to float32 of that shape."""
        return ((images.astype(np.float32) - self.means) / self.stds).astype(np.float32)

    @property
    def is_exact(self) -> bool:
        """Whether scale and zero point of a uint8 tensor say the same without any arithmetic."""
        (*means,), (*stds,) = self.means, self.stds
        return len(means) == len(stds) == 1 and means[0] in range(256) and stds[0] > 0


@dataclass(frozen=True)
class Metadata:
    """What an artifact knows about itself.

    Attributes:
        name: The model's name, for example ``mugs``.
        labels: Class names in the order of the model's output.
        image: How a photo becomes the input uint8 [N, height, width, 3].
        precision: How weights and activations are stored.
        version: The model's version, free text.
        normalization: What the graph does first with the bytes.
        parameters: Number of weights of the source network.
        quantization: Scheme, recipe and tool of anything but fp32; None for fp32.
        calibration: Names, count, seed and hash of the calibration images; None without any.
        training: Where the weights come from: data hash, settings, library versions.
        accuracy: Top-1 of source and artifact, agreement and the largest probability change.
        certificate: Golden images with the answers of source and artifact.
        features: Where the last feature map is, and the dense layer that reads it; None where the
            network has none. See `edgeclf.artifact.features.Features`.
        trust: What was fitted to the file's own answers, for confidence, unknown and sets of
            labels; None where nobody calibrated it.
        description: What the model is for, in a sentence or a few; None like the next three where
            nobody said.
        license: Under which the weights may be used, best as SPDX writes it: ``Apache-2.0``.
        origin_url: Where the model comes from, ``https://`` or ``http://``.
        paper: Address of the paper that describes the network, likewise.
        written_by: The program that wrote the file read; not compared, and replaced on writing.

    Examples:
        >>> from edgeclf import ImageSpec, Metadata
        >>> metadata = Metadata("mugs", ("black", "white"), ImageSpec(96, 96), precision="int8")
        >>> Metadata.from_json(metadata.to_json()) == metadata
        True
    """

    name: str
    labels: tuple[str, ...]
    image: ImageSpec
    precision: Precision = "fp32"
    version: str = "1"
    normalization: Normalization = field(default_factory=Normalization)
    parameters: int | None = None
    quantization: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    accuracy: Mapping[str, Any] | None = None
    certificate: Mapping[str, Any] | None = None
    features: Mapping[str, Any] | None = None
    trust: Mapping[str, Any] | None = None
    description: str | None = None
    license: str | None = None
    origin_url: str | None = None
    paper: str | None = None
    written_by: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        _check_labels(self.labels)
        if self.precision not in get_args(Precision):
            raise OptionError(
                f"Precision is {self.precision!r}; expected one of {get_args(Precision)}."
            )
        for name in ("description", "license"):
            value = getattr(self, name)
            if value is not None and not value.strip():
                raise OptionError(f"The {name} is empty; leave it out where there is none.")
        if self.license is not None and len(self.license.splitlines()) != 1:
            raise OptionError("The license spans lines; expected its name, such as Apache-2.0.")
        for name in ("origin_url", "paper"):
            value = getattr(self, name)
            if value is not None and not _URL.fullmatch(value):
                raise OptionError(
                    f"The {name} is {value!r}; expected an address that begins with https:// or "
                    "http:// and has no space in it."
                )

    def to_json(self) -> str:
        """The metadata as one JSON document."""
        header = {"format_version": FORMAT_VERSION, "written_by": f"edgeclf {_own_version()}"}
        document = {**dataclasses.asdict(self), "image": self.image.to_dict(), **header}
        return json.dumps(document, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Metadata:
        """Reads what `to_json` wrote.

        Raises:
            ArtifactError: The document is not ours, or from a later format version.
        """
        try:
            document = json.loads(text)
            format_version = document["format_version"]
        except (ValueError, KeyError, TypeError) as exc:
            raise ArtifactError(f"The metadata is not edgeclf's JSON: {exc!r}.") from exc
        if format_version != FORMAT_VERSION:
            writer = str(document.get("written_by", "another edgeclf"))
            raise ArtifactError(
                f"The artifact has format version {format_version}, written by {writer}; this is "
                f"edgeclf {_own_version()}, which reads version {FORMAT_VERSION}. Install the "
                f"writer's version: pip install '{writer.replace(' ', '>=')}'"
            )
        _check_types(document)
        # What a later edgeclf adds without a new format version is not needed to read the file.
        known = {entry.name for entry in dataclasses.fields(cls)}
        fields = {key: value for key, value in document.items() if key in known}
        try:
            fields["labels"] = tuple(fields["labels"])
            fields["image"] = ImageSpec(**fields["image"])
            scheme = fields["normalization"].items()
            fields["normalization"] = Normalization(
                **{key: tuple(v) if isinstance(v, list) else v for key, v in scheme}
            )
            return cls(**fields)
        except (KeyError, TypeError, OptionError) as exc:
            raise ArtifactError(f"The artifact's metadata is incomplete: {exc}.") from exc


def _check_labels(labels: Sequence[str]) -> None:
    """Checks that class names are different ones, each a line of text."""
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise OptionError(
            f"Labels are {listed(map(repr, labels))}; expected at least two different names."
        )
    for label in labels:
        if len(label.splitlines()) != 1 or not label.strip():
            raise OptionError(
                f"The label {label!r} is empty or spans lines; labels.txt holds one a line."
            )
        if found := CONTROL.search(label):
            raise OptionError(
                f"The label {label!r} holds {found[0]!r}, a control character or half a letter; "
                "expected text. Rename the class."
            )


def _check_types(document: Mapping[str, Any]) -> None:
    """Refuses what JSON allows and the format does not."""
    labels = document.get("labels")
    records = (
        "quantization", "calibration", "training", "accuracy", "certificate", "features", "trust",
    )  # fmt: skip
    wrong = [key for key in ("image", "normalization") if not isinstance(document.get(key), dict)]
    wrong += [key for key in records if not isinstance(document.get(key), dict | None)]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        wrong.append("labels")
    if not isinstance(document.get("parameters"), int | None):
        wrong.append("parameters")
    texts = ("description", "license", "origin_url", "paper")
    wrong += [key for key in texts if not isinstance(document.get(key), str | None)]
    if wrong:
        raise ArtifactError(f"The artifact's metadata have wrong types: {', '.join(wrong)}.")


def _own_version() -> str:
    from importlib.metadata import version  # slow to import, and rarely needed

    return version("edgeclf")
