"""The converters' seam: what a conversion is asked for, what it is given and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias, get_args

from edgeclf.artifact import Format, Metadata, Precision
from edgeclf.converters.calibration import CalibrationMethod
from edgeclf.converters.config import DEFAULT_TARGETS
from edgeclf.converters.scores import Head
from edgeclf.converters.source_spec import Channels
from edgeclf.errors import OptionError
from edgeclf.image import UInt8Array

CALIBRATED = ("int8", "int8-full")  # the precisions whose activations need ranges


@dataclass(frozen=True)
class Target:
    """A precision and a converter, written like the end of the file's name: ``int8.tflite``.

    Attributes:
        precision: How weights and activations are stored.
        converter: A built-in one, ``tflite`` or ``onnx``, or the name of an entry point.

    Examples:
        >>> from edgeclf.converters.base import Target
        >>> Target.parse("int8.tflite")
        Target(precision='int8', converter='tflite')
    """

    precision: Precision
    converter: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Reads ``PRECISION.CONVERTER``.

        Raises:
            OptionError: It is not of that form, or there is no such precision.
        """
        precision, dot, converter = text.partition(".")
        if precision not in get_args(Precision) or not dot or not converter:
            raise OptionError(
                f"Cannot convert to {text!r}; expected PRECISION.FORMAT such as "
                f"{', '.join(DEFAULT_TARGETS)}, with a precision of "
                f"{', '.join(get_args(Precision))}."
            )
        return cls(precision, converter)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.precision}.{self.converter}"


@dataclass(frozen=True)
class Recipe:
    """One way to quantise. When a result misses the tolerance, the next recipe is tried.

    Attributes:
        precision: What the result is; a fallback may be fp16 where int8 was asked for.
        calibration: How ranges are taken from the calibration images; None needs none.
        float_layers: How many of the layers with the largest error stay in float.
        activation_bits: 8 or 16.

    Examples:
        >>> from edgeclf.converters.base import Recipe
        >>> str(Recipe("int8", "mse", float_layers=2))
        'int8, mse calibration, 2 worst layers in float'
    """

    precision: Precision
    calibration: CalibrationMethod | None = None
    float_layers: int = 0
    activation_bits: int = 8

    def __str__(self) -> str:
        words: list[str] = [self.precision]
        if self.calibration:
            words.append(f"{self.calibration} calibration")
        if self.float_layers:
            words.append(f"{self.float_layers} worst layers in float")
        if self.activation_bits != 8:
            words.append(f"int{self.activation_bits} activations")
        return ", ".join(words)


@dataclass(frozen=True)
class TensorFlowGraph:
    """A network as TensorFlow runs it.

    Attributes:
        function: From float32 [N, H, W, 3], normalised, to float32 probabilities [N, classes].
        variables: What it computes with; they must be kept alive.
        written: Gives the same network as a file, ``tflite`` or ``onnx``, or None where there is
            none that has proved to answer alike; an exporter makes one then.
    """

    function: Callable[[Any], Any]
    variables: Sequence[Any]
    written: Callable[[Format], FileGraph | None] = lambda _: None


@dataclass(frozen=True)
class Quantized:
    """What a model from elsewhere is that was quantised before it came here.

    Attributes:
        precision: The one of ours that it has, and the only one that it can have.
        scheme: How it was done, in a few words.
    """

    precision: Precision
    scheme: str

    def record(self) -> dict[str, Any]:
        """What its artifact says of it."""
        return {"scheme": f"{self.scheme}, taken over as it was", "recipe": "none", "tool": "none"}


@dataclass(frozen=True)
class FileGraph:
    """A network in an engine's file: normalised images in, scores out.

    Attributes:
        format: ``tflite`` or ``onnx``.
        content: The file.
        channels_first: Whether the input is [N, C, H, W] instead of [N, H, W, C].
        logits: Whether the scores still need a softmax, or a sigmoid where there is one.
        output: The tensor that holds the scores; empty for the only output.
        quantized: What it is, if it is quantised already.
        channels: What the input takes.
        single: Whether one score stands for two labels.
    """

    format: Format
    content: bytes = field(repr=False)
    channels_first: bool = False
    logits: bool = False
    output: str = ""
    quantized: Quantized | None = None
    channels: Channels = "rgb"
    single: bool = False

    @property
    def head(self) -> Head:
        """What makes probabilities of its scores."""
        return Head(self.logits, self.single)


Graph: TypeAlias = TensorFlowGraph | FileGraph


@dataclass(frozen=True)
class Source:
    """A model to convert.

    Attributes:
        graph: The network.
        metadata: What the artifacts will know about themselves, but for what conversion adds.
        calibration: uint8 [N, H, W, 3], what int8 measures its ranges on.
        measured: What converters have found out on those, for others of the same source.
    """

    graph: Graph
    metadata: Metadata
    calibration: UInt8Array | None = None
    measured: list[Any] = field(default_factory=list, repr=False, compare=False)

    @property
    def quantized(self) -> Quantized | None:
        """What it is, if it is quantised already: it is taken over as it is, or not at all."""
        return self.graph.quantized if isinstance(self.graph, FileGraph) else None


@dataclass(frozen=True)
class LayerError:
    """How far a layer of the quantised network is from the float one.

    Attributes:
        tensor: Name of the layer's output.
        operator: What computes it.
        error: RMS of the difference over RMS of the float values.
    """

    tensor: str
    operator: str
    error: float


@dataclass(frozen=True)
class Converted:
    """The bytes of a converted model, not yet an artifact.

    Attributes:
        content: The model in its engine's format.
        quantization: Scheme and tool of a quantised model, None for fp32.
        layer_errors: Of a statically quantised model, in the order of the layers.
    """

    content: bytes = field(repr=False)
    quantization: Mapping[str, Any] | None = None
    layer_errors: tuple[LayerError, ...] = ()


class Converter(Protocol):
    """From one source to one engine format.

    A converter is made once for a source and asked for several precisions and recipes, so it can
    keep what they share.

    Attributes:
        format: The engine format of what it writes.
        precisions: What it can be asked for.
        takes_quantized: Whether it takes over a source that is quantised already, see
            `Source.quantized`, as it is. Without the attribute it is never given one.
    """

    format: ClassVar[Format]
    precisions: ClassVar[tuple[Precision, ...]]

    def __init__(self, source: Source) -> None:
        """Takes the source; raises `ConversionError` when it cannot read that kind of graph."""

    def recipes(self, precision: Precision) -> Sequence[Recipe]:
        """The ways to reach a precision, in the order to try them; the first is the usual one."""

    def convert(self, recipe: Recipe) -> Converted:
        """Converts by one recipe.

        Returns:
            A model from uint8 [N, H, W, 3] to float32 probabilities [N, classes]; int8 in and
            out for ``int8-full``.

        Raises:
            ConversionError: The model cannot be converted.
        """
