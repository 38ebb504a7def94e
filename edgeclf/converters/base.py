"""What a conversion is asked for and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from edgeclf.artifact import Format, Normalization, Precision
from edgeclf.errors import OptionError
from edgeclf.image import UInt8Array

DEFAULT_TARGETS = ("fp32.tflite", "int8.tflite", "fp32.onnx", "int8.onnx")


@dataclass(frozen=True)
class Target:
    """A format at a precision, written like the end of the file's name: ``int8.tflite``.

    Attributes:
        format: The engine format.
        precision: How weights and activations are stored.
    """

    format: Format
    precision: Precision

    @classmethod
    def parse(cls, text: str) -> Target:
        """Reads ``PRECISION.FORMAT``.

        Raises:
            OptionError: Nothing that can be converted to.
        """
        precision, _, format_ = text.partition(".")
        if text not in DEFAULT_TARGETS:
            raise OptionError(
                f"Cannot convert to {text!r}; expected one of {', '.join(DEFAULT_TARGETS)}."
            )
        assert precision in get_args(Precision) and format_ in get_args(Format)
        return cls(format_, precision)  # type: ignore[arg-type]

    @property
    def quantized(self) -> bool:
        """Whether calibration images are needed."""
        return self.precision == "int8"

    def __str__(self) -> str:
        return f"{self.precision}.{self.format}"


@dataclass(frozen=True)
class Source:
    """A model to convert.

    Attributes:
        model: A Keras model in the frame of `edgeclf.training.backbones`.
        normalization: What its ``normalize`` layer does.
        calibration: uint8 [N, H, W, 3], what an int8 conversion measures ranges on.
    """

    model: Any
    normalization: Normalization
    calibration: UInt8Array | None


@dataclass(frozen=True)
class Converted:
    """The bytes of a converted model, not yet an artifact.

    Attributes:
        content: The model in its engine's format.
        quantization: Scheme and tool of an int8 conversion, None for floats.
    """

    content: bytes = field(repr=False)
    quantization: Mapping[str, Any] | None = None
