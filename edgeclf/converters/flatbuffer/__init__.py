"""Edits of TFLite flatbuffers that the converters need and no tool of theirs makes.

Most functions take and return models as bytes, some change a tree that `unpack` gave; all leave one
graph, one input, one output and a signature that names both. A *float graph* is the network between
normalisation and probabilities, float32 [1, H, W, 3] to float32 [1, classes].
"""

from edgeclf.converters.flatbuffer.edits import (
    add_metadata,
    say_batch,
    shorten_names,
    sign,
    take_bytes,
    up_to,
)
from edgeclf.converters.flatbuffer.foreign import (
    as_float_graph,
    made_by_softmax,
    parameter_count,
    quantized_as,
    with_one_image,
    with_own_names,
)
from edgeclf.converters.flatbuffer.queries import (
    head_tensors,
    image_layers,
    input_name,
    operator_outputs,
    tensor_ranks,
)
from edgeclf.converters.flatbuffer.tree import pack, unpack

__all__ = [
    "add_metadata",
    "as_float_graph",
    "head_tensors",
    "image_layers",
    "input_name",
    "made_by_softmax",
    "operator_outputs",
    "pack",
    "parameter_count",
    "quantized_as",
    "say_batch",
    "shorten_names",
    "sign",
    "take_bytes",
    "tensor_ranks",
    "unpack",
    "up_to",
    "with_one_image",
    "with_own_names",
]
