"""The folders of TensorFlow's SavedModels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.converters.base import TensorFlowGraph
from edgeclf.converters.readers.base import (
    ForeignModel,
    Output,
    answering,
    as_rows,
    check_input_type,
    check_output_type,
    choose_output,
    in_type,
    only_input,
)
from edgeclf.converters.source_spec import SourceSpec
from edgeclf.errors import ArtifactError, ConversionError, mapped

# Operations that reach outside of the network; loading a SavedModel may run them.
_UNSAFE_OPERATIONS = frozenset(
    ("EagerPyFunc", "MatchingFiles", "PyFunc", "PyFuncStateless", "ReadFile", "WriteFile")
)
_VARIABLES = frozenset(("VarHandleOp", "Variable", "VariableV2"))
_SIGNATURES = ("serving_default", "default", "image_classifier")


def read_saved_model(path: Path, source_spec: SourceSpec) -> ForeignModel:
    """The folder of a SavedModel."""
    from edgeclf.networks.backend import tf  # before all else of TensorFlow, as it does so quietly

    proto = _proto(path)
    unsafe = sorted(_UNSAFE_OPERATIONS & set(_operations(proto)))
    if unsafe and not source_spec.trust:
        raise ConversionError(
            f"{path} holds operations that reach outside of the network: {', '.join(unsafe)}. "
            "If you know where it comes from, add --trust."
        )
    with mapped(ArtifactError, f"TensorFlow cannot load {path}"):
        loaded = tf.saved_model.load(str(path), tags=_tags(proto))
    signatures = dict(loaded.signatures)
    name = next((n for n in _SIGNATURES if n in signatures), None) or next(iter(signatures), None)
    if name is None:
        raise ConversionError(f"{path} has no signature; export it with one, as serving_default.")
    signature = signatures[name]
    _, inputs = signature.structured_input_signature
    outputs = signature.structured_outputs
    only_input(list(inputs), path)
    ((input_name, spec),) = inputs.items()
    check_input_type(spec.dtype.name, input_name, path)
    found = [Output(name, _sizes(output.shape)) for name, output in outputs.items()]
    output_name = choose_output(found, path, source_spec).name
    check_output_type(outputs[output_name].dtype.name, output_name, path)

    is_of_tensorflow_1 = not proto.meta_graphs[0].HasField("object_graph_def")
    network = _frozen(signature) if is_of_tensorflow_1 else signature

    def function(image: Any) -> Any:
        inputs_by_name = {input_name: tf.cast(image, spec.dtype)}
        return tf.cast(network(**inputs_by_name)[output_name], tf.float32)

    def predict(images: Any) -> Any:
        values = in_type(images, spec.dtype.as_numpy_dtype, path)
        with answering("TensorFlow", path, input_name, values.shape):
            return as_rows(function(values).numpy(), len(values))

    variables = list(signature.variables)
    parameters = sum(int(np.prod(variable.shape)) for variable in variables)
    if is_of_tensorflow_1:  # their variables are nodes of the graph
        nodes = signature.graph.as_graph_def().node
        parameters += sum(_size(node) for node in nodes if node.op in _VARIABLES)
    graph = TensorFlowGraph(function, [loaded, network, *variables])
    return ForeignModel(graph, predict, _sizes(spec.shape), parameters, "saved_model")


def _proto(path: Path) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    with mapped(ArtifactError, f"{path} is no readable SavedModel"):
        proto.ParseFromString((path / "saved_model.pb").read_bytes())
    return proto


def _size(variable: Any) -> int:
    return math.prod(side.size for side in variable.attr["shape"].shape.dim)


def _tags(proto: Any) -> list[str] | None:
    """Of the graph to load; None where there is one. Hub's modules have one to train with, too."""
    found = [sorted(graph.meta_info_def.tags) for graph in proto.meta_graphs]
    if len(found) < 2:
        return None
    return next((tags for tags in (["serve"], []) if tags in found), found[0])


def _frozen(signature: Any) -> Callable[..., Any]:
    """A signature of TensorFlow 1 with its variables as constants.

    TensorFlow 2 reads such a graph, but what it makes of the variables can be neither traced into
    another function nor exported.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    constant = convert_variables_to_constants_v2(signature)
    names = list(signature.structured_outputs)

    def call(**inputs: Any) -> dict[str, Any]:
        (image,) = inputs.values()
        answers = tf.nest.flatten(constant(image))
        return dict(zip(names, answers, strict=True))

    return call


def _sizes(shape: Any) -> tuple[int | None, ...]:
    return () if shape.rank is None else tuple(shape.as_list())


def _operations(proto: Any) -> Iterator[str]:
    for meta_graph in proto.meta_graphs:
        graph = meta_graph.graph_def
        yield from (node.op for node in graph.node)
        for function in graph.library.function:
            yield from (node.op for node in function.node_def)
