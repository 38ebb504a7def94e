"""Standard TFLite metadata, so that readers that are not ours know labels and input.

MediaPipe Tasks and Android's task library look for a buffer named ``TFLITE_METADATA`` that holds a
second flatbuffer, the `metadata schema`_. This module writes the few tables of it that describe an
image classifier; the numbers below are the positions of the fields in that schema.

.. _metadata schema: https://ai.google.dev/edge/litert/conversion/tensorflow/metadata
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeclf.artifact import Metadata
from edgeclf.artifact.file import TFLITE_MARK

BUFFER_NAME = "TFLITE_METADATA"

_FILE_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.0.0"  # the oldest that knows the tables used here
_LABELS_FILE = "labels.txt"
_TENSOR_AXIS_LABELS = 2  # AssociatedFileType
_RGB = 1  # ColorSpaceType
_IMAGE_PROPERTIES = 2  # in the union ContentProperties
_NORMALIZATION_OPTIONS = 1  # in the union ProcessUnitOptions


@dataclass(frozen=True)
class _Offset:
    """A table, vector or string that was written before; told apart from plain numbers."""

    position: int


def tflite_metadata(metadata: Metadata, input_name: str, output_name: str) -> bytes:
    """The metadata flatbuffer of an image classifier.

    Input and output are uint8 and float32, or int8 both for ``int8-full``.

    Args:
        metadata: The artifact's own; name, version, labels and input size are taken from it.
        input_name: The graph's input tensor.
        output_name: The graph's output tensor.
    """
    writer = _Writer()
    image, table, text, tables = metadata.image, writer.table, writer.text, writer.tables
    integers = metadata.precision == "int8-full"
    bytes_are = "one byte a channel minus 128, -128..127" if integers else "one byte a channel"
    scores_are = "-128..127 for probabilities 0..1" if integers else "they sum to 1"
    shift = 128.0 if integers else 0.0
    labels = table(
        {0: text(_LABELS_FILE), 1: text("The classes, one a line, in the output's order."),
         2: _TENSOR_AXIS_LABELS}
    )  # fmt: skip
    size = table({0: image.width, 1: image.height}, wide=True)
    content = table({0: _IMAGE_PROPERTIES, 1: table({0: _RGB, 1: size})})
    # The graph takes bytes as they are: what it does with them is inside.
    identity = table({0: writer.floats([0.0]), 1: writer.floats([1.0])})
    unit = table({0: _NORMALIZATION_OPTIONS, 1: identity})
    image_tensor = table(
        {
            0: text(input_name),
            1: text(f"RGB image, {image.width} x {image.height}, {bytes_are}."),
            3: content,
            4: tables([unit]),
            5: table({0: writer.floats([255.0 - shift]), 1: writer.floats([-shift])}),
        }
    )
    answer = table(
        {
            0: text(output_name),
            1: text(f"Score of each class; {scores_are}."),
            3: table({0: 1, 1: table({})}),  # FeatureProperties, which has no fields
            5: table({0: writer.floats([127.0 if integers else 1.0]), 1: writer.floats([-shift])}),
            6: tables([labels]),
        }
    )
    graph = table({2: tables([image_tensor]), 3: tables([answer])})
    root = table(
        {
            0: text(metadata.name),
            1: text(
                f"Image classifier of {len(metadata.labels)} classes, {metadata.precision}, "
                f"{TFLITE_MARK.decode()}."
            ),
            2: text(metadata.version),
            3: tables([graph]),
            7: text(_PARSER_VERSION),
        }
    )
    return writer.finish(root)


class _Writer:
    """The three things a flatbuffer is made of: tables, vectors and strings."""

    def __init__(self) -> None:
        import flatbuffers

        self._builder: Any = flatbuffers.Builder(1024)

    def text(self, value: str) -> _Offset:
        return _Offset(self._builder.CreateString(value))

    def floats(self, values: Sequence[float]) -> _Offset:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependFloat32(value)
        return _Offset(self._builder.EndVector())

    def tables(self, offsets: Sequence[_Offset]) -> _Offset:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset.position)
        return _Offset(self._builder.EndVector())

    def table(self, fields: Mapping[int, _Offset | int], *, wide: bool = False) -> _Offset:
        """A table; plain numbers are bytes (enumerations), or 32 bits wide."""
        self._builder.StartObject(max(fields, default=-1) + 1)
        for slot, value in fields.items():
            if isinstance(value, _Offset):
                self._builder.PrependUOffsetTRelativeSlot(slot, value.position, 0)
            elif wide:
                self._builder.PrependUint32Slot(slot, value, 0)
            else:
                self._builder.PrependUint8Slot(slot, value, 0)
        return _Offset(self._builder.EndObject())

    def finish(self, root: _Offset) -> bytes:
        self._builder.Finish(root.position, file_identifier=_FILE_IDENTIFIER)
        return bytes(self._builder.Output())
