"""``.h5`` files of Keras 2, told in the words of Keras 3.

Keras 3 reads most of what Keras 2 said of a layer, but not of a model within a model: Keras 2
counted its first use from 1, as the model itself was one, and had lists of a single input and
output. So no file with a pretrained network inside could be loaded, as transfer learning leaves it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeclf.errors import ConversionError, MissingDependencyError

# What later versions of Keras 2 added, and only its own loader understands.
_OF_ITS_LOADER = ("module", "registered_name", "build_config", "compile_config")
# What its separable convolutions and augmentations said besides, which means nothing.
_MEANT_NOTHING = {
    "SeparableConv1D": ("kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    "SeparableConv2D": ("kernel_initializer", "kernel_regularizer", "kernel_constraint"),
}
_OF_RANDOM_LAYERS = "rng_type"
_CALLS = ("TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty")
_MODELS = ("Functional", "Model", "Sequential")
_ENDS = ("input_layers", "output_layers")


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """The file that Keras 3 can load: a copy in its words if Keras 2 wrote it, else itself."""
    config = None if path.suffix == ".keras" else _config_of(path)
    if config is None:
        yield path
        return
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"{path.stem}.h5"
        shutil.copyfile(path, copy)
        with h5py.File(copy, "a") as file:
            file.attrs["model_config"] = json.dumps(_checked(in_words_of_keras_3(config), path))
        yield copy


def _config_of(path: Path) -> Any:
    """What Keras 2 says of its model; None for another file, or one that is damaged."""
    try:
        import h5py
    except ModuleNotFoundError as exc:
        raise MissingDependencyError("h5py", "convert", "Reading a .h5 file") from exc
    try:
        with h5py.File(path, "r") as file:
            version, config = file.attrs.get("keras_version", ""), file.attrs.get("model_config")
            text = [
                each.decode() if isinstance(each, bytes) else each for each in (version, config)
            ]
        return json.loads(text[1]) if config is not None and not text[0].startswith("3") else None
    except (OSError, ValueError):
        return None  # Keras says what is wrong with it


def _checked(config: Any, path: Path) -> Any:
    """Refuses what calls TensorFlow without a layer: Keras 3 has nothing in its place."""
    if isinstance(config, dict) and config.get("class_name") in _CALLS:
        raise ConversionError(
            f"{path} was written by Keras 2 and calls TensorFlow's own functions "
            f"({config['class_name']} {config['config'].get('name', '')}), which Keras 3 cannot "
            "load. In Keras 2, which is the package tf_keras today, load it, say "
            "model.export('exported'), and convert that folder."
        )
    for each in config.values() if isinstance(config, dict) else config:
        if isinstance(each, dict | list):
            _checked(each, path)
    return config


def in_words_of_keras_3(config: Any) -> Any:
    """A layer's or model's config, and those within it."""
    if isinstance(config, list):
        return [in_words_of_keras_3(each) for each in config]
    if not isinstance(config, dict):
        return config
    own = {
        name: value if name == "activation" else in_words_of_keras_3(value)
        for name, value in config.items()
    }
    if "class_name" in own:
        own = {name: value for name, value in own.items() if name not in _OF_ITS_LOADER}
        for name in (_OF_RANDOM_LAYERS, *_MEANT_NOTHING.get(own["class_name"], ())):
            own["config"].pop(name, None)
    if isinstance(own.get("name"), str):
        own["name"] = _name(own["name"])
    if isinstance(own.get("layers"), list) and "input_layers" in own:
        _count_uses_from_0(own)
    return own


def _count_uses_from_0(model: dict[str, Any]) -> None:
    """Names, and counts, the layers that a graph's layers are called with."""
    inside = {_name(layer["config"]["name"]) for layer in model["layers"]
              if layer["class_name"] in _MODELS}  # fmt: skip
    uses = [use for layer in model["layers"] for use in _uses(layer.get("inbound_nodes"))]
    for name in _ENDS:
        uses += _uses(model[name])
    first: dict[str, int] = {}
    for use in uses:
        use[0] = _name(use[0])
        first[use[0]] = min(first.get(use[0], use[1]), use[1])
    for use in uses:
        if use[0] in inside:
            use[1] -= first[use[0]]
    for name in _ENDS:
        if len(model[name]) == 1:
            (model[name],) = model[name]


def _uses(nodes: Any) -> Iterator[list[Any]]:
    """Each [name, use, output, ...] in what may be lists of lists of them."""
    if isinstance(nodes, dict):
        nodes = list(nodes.values())
    if not isinstance(nodes, list):
        return
    if len(nodes) >= 3 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
        yield nodes
        return
    for each in nodes:
        yield from _uses(each)


def _name(name: str) -> str:
    """Without the slashes that Keras 3 refuses; nothing is found by it but within the config."""
    return name.replace("/", "__")
