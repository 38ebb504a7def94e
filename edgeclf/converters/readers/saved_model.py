"""The folders of TensorFlow's SavedModels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.converters.readers.base import ForeignModel, tensorflow_graph
from edgeclf.converters.source_spec import SourceSpec
from edgeclf.errors import ArtifactError, ConversionError, mapped

# Operations that reach outside of the network; loading a SavedModel may run them.
_UNSAFE_OPERATIONS = frozenset(
    ("EagerPyFunc", "MatchingFiles", "PyFunc", "PyFuncStateless", "ReadFile", "WriteFile")
)
_SIGNATURES = ("serving_default", "default", "image_classifier")


def read_saved_model(path: Path, source_spec: SourceSpec) -> ForeignModel:
    """The folder of a SavedModel."""
    from tensorflow.core.protobuf import saved_model_pb2

    from edgeclf.networks.backend import tf

    if not (path / "saved_model.pb").is_file():
        raise ArtifactError(f"{path} is a folder without saved_model.pb; expected a SavedModel.")
    proto = saved_model_pb2.SavedModel()
    with mapped(ArtifactError, f"{path} is no readable SavedModel"):
        proto.ParseFromString((path / "saved_model.pb").read_bytes())
    unsafe = sorted(_UNSAFE_OPERATIONS & set(_operations(proto)))
    if unsafe and not source_spec.trust:
        raise ConversionError(
            f"{path} holds operations that reach outside of the network: {', '.join(unsafe)}. "
            "If you know where it comes from, add --trust."
        )
    with mapped(ArtifactError, f"TensorFlow cannot load {path}"):
        loaded = tf.saved_model.load(str(path))
    signatures = dict(loaded.signatures)
    name = next((n for n in _SIGNATURES if n in signatures), None) or next(iter(signatures), None)
    if name is None:
        raise ConversionError(f"{path} has no signature; export it with one, as serving_default.")
    signature = signatures[name]
    _, inputs = signature.structured_input_signature
    outputs = signature.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise ConversionError(
            f"The signature {name!r} of {path} takes {', '.join(inputs)} and answers "
            f"{', '.join(outputs)}; an image classifier has one of each."
        )
    ((input_name, spec),) = inputs.items()
    (output_name,) = outputs

    def function(image: Any) -> Any:
        inputs_by_name = {input_name: tf.cast(image, spec.dtype)}
        return tf.cast(signature(**inputs_by_name)[output_name], tf.float32)

    variables = list(signature.variables)
    parameters = sum(int(np.prod(variable.shape)) for variable in variables)
    graph = tensorflow_graph(function, [loaded, *variables], source_spec)
    return ForeignModel(graph, function, spec.shape.as_list(), parameters, "saved_model")


def _operations(proto: Any) -> Iterator[str]:
    for meta_graph in proto.meta_graphs:
        graph = meta_graph.graph_def
        yield from (node.op for node in graph.node)
        for function in graph.library.function:
            yield from (node.op for node in function.node_def)
