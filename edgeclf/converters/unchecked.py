"""A conversion by the usual recipe that is not judged here: of many models to be compared later."""

from __future__ import annotations

import dataclasses

from edgeclf.artifact import Artifact, Format, Precision, save_artifact, seal_artifact
from edgeclf.converters import find_converter
from edgeclf.converters.endings import find_features
from edgeclf.converters.source_spec import SourceSpec
from edgeclf.converters.sources import open_model
from edgeclf.image import UInt8Array


def convert_unchecked(
    artifact: Artifact,
    precision: Precision,
    calibration: UInt8Array,
    format: Format = "tflite",
) -> Artifact:
    """Writes ``NAME.PRECISION.FORMAT`` beside an artifact, without gate, fallback or certificate.

    Args:
        artifact: A ``.keras`` one that was read from a file or written to one.
        precision: Of the result.
        calibration: uint8 [N, H, W, 3] of its input size, what int8 measures its ranges on.
        format: ``tflite`` or ``onnx``.

    Raises:
        ConversionError: It cannot be converted.
        MissingDependencyError: A package of the extra ``convert`` is not installed.
    """
    assert artifact.path is not None
    source = open_model(artifact.path, SourceSpec()).source
    converter = find_converter(format)(dataclasses.replace(source, calibration=calibration))
    converted = converter.convert(converter.recipes(precision)[0])
    metadata = dataclasses.replace(
        source.metadata,
        precision=precision,
        quantization=converted.quantization,
        accuracy=None,
        certificate=None,
        trust=None,
        features=None,
    )
    features = find_features(format, converted.content, metadata)
    metadata = dataclasses.replace(metadata, features=features)
    path = artifact.path.with_name(f"{artifact.path.stem}.{precision}.{format}")
    return save_artifact(seal_artifact(converted.content, metadata), path)
