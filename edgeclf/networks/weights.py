"""Weights for a backbone: from its pip package, from Keras's cache, or from a file.

edgeclf fetches nothing by itself. Where Keras would download, its cache is looked at first, and a
file that is not there is an error that says what to do; only ``download=True`` lets Keras fetch it.
"""

from __future__ import annotations

import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.errors import ArtifactError, OptionError, mapped
from edgeclf.networks.backend import keras
from edgeclf.networks.efficientnet_lite import load_torch_weights
from edgeclf.networks.registry import file_of_package, locate_weights
from edgeclf.networks.torch_weights import read_state_dict

if TYPE_CHECKING:
    from edgeclf.networks.builder import Backbone

_KERAS_MEMBER = "model.weights.h5"  # in a .keras file
_EXPECTED = "those of the same network, of Keras's files the ones without top"


def find_weights(
    backbone: Backbone, weights: str | os.PathLike[str] | None, *, download: bool = False
) -> Path | None:
    """The file that a backbone's weights are in; nothing is built for that.

    Args:
        backbone: The network that they are for.
        weights: ``imagenet``, a file, or ``none`` or None.
        download: Whether Keras may fetch ImageNet weights where they are not in its cache.

    Returns:
        A file for `load_weights`; None for none.

    Raises:
        MissingDependencyError: They come in a pip package that is not installed.
        OptionError: There is no such file, the backbone has no ImageNet weights, or Keras would
            have to download them and may or can not.
    """
    path = locate_weights(
        weights,
        backbone=backbone.name,
        package=backbone.weights_package,
        extra=backbone.weights_extra,
        file=backbone.weights_file,
        download=download,
    )
    if path is not None and not path.is_file():
        download_weights(backbone, path)
    return path


def load_weights(model: keras.Model, backbone: Backbone, file: Path) -> None:
    """Loads weights from a file into `model`, all but its last layer's.

    Args:
        model: From `build_classifier` for this backbone.
        backbone: The network that the file must fit.
        file: ``.weights.h5``, ``.keras`` (an artifact of edgeclf or any other; its code is not
            run), ``.h5`` in the older layout, in which Keras publishes its weights, or ``.pth``
            from the backbone's package.

    Raises:
        ArtifactError: It cannot be read, or holds another network.
    """
    if file.suffix == ".pth":
        load_torch_weights(model, read_state_dict(file))
        return
    core = keras.Model(model.input, model.get_layer("features").input)
    if file.suffix == ".keras":
        _load_keras(core, backbone, file)
    elif file.name.endswith(".weights.h5"):
        _load(core.load_weights, backbone, file)
    else:
        # This layout counts layers: it holds those of the whole classifier or all but the last.
        try:
            _load(core.load_weights, backbone, file)
        except ArtifactError as exc:
            try:
                _load(model.load_weights, backbone, file)
            except ArtifactError:
                raise exc from None


def load_classifier_weights(model: keras.Model, backbone: Backbone, file: Path) -> None:
    """Loads all weights from a file into `model`, its last layer's too.

    Args:
        model: From `build_classifier` for this backbone.
        backbone: The network that the file must fit.
        file: As for `load_weights`; of Keras's files the one with the classes.

    Raises:
        ArtifactError: It cannot be read, or holds another network or other classes.
    """
    expected = f"those of the same network with its {model.output.shape[-1]:,} classes"
    if file.suffix == ".pth":
        state = read_state_dict(file)
        load = partial(_set_torch_weights, model)
        _load(lambda _: load(state), backbone, file, expected=expected)
    elif file.suffix == ".keras":
        _load_keras(model, backbone, file, expected)
    else:
        _load(model.load_weights, backbone, file, expected=expected)


def _set_torch_weights(model: keras.Model, state: dict[str, Any]) -> None:
    # Else a deeper network of the same widths would lend its first blocks.
    held = sum(v.size for k, v in state.items() if not k.endswith("num_batches_tracked"))
    if held != model.count_params():
        raise ValueError(f"it holds {held:,} weights, the network {model.count_params():,}.")
    load_torch_weights(model, state)
    model.get_layer("logits").set_weights([state["_fc.weight"].T, state["_fc.bias"]])


def weights_file(backbone: Backbone) -> Path:
    """The checkpoint in the backbone's weights package.

    Raises:
        MissingDependencyError: The package is not installed.
        OptionError: The backbone has none.
    """
    if backbone.weights_package is None:
        raise OptionError(f"{backbone.name} has no package of weights.")
    return file_of_package(backbone.weights_package, backbone.weights_extra)


def _load_keras(
    core: keras.Model, backbone: Backbone, file: Path, expected: str = _EXPECTED
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(file) as archive:
                archive.extract(_KERAS_MEMBER, folder)
        except (zipfile.BadZipFile, KeyError, OSError) as exc:
            raise ArtifactError(f"{file} is not a readable .keras file: {exc}") from exc
        _load(core.load_weights, backbone, Path(folder) / _KERAS_MEMBER, file, expected)


def _load(
    load: Callable[[Path], None],
    backbone: Backbone,
    path: Path,
    file: Path | None = None,
    expected: str = _EXPECTED,
) -> None:
    try:
        with warnings.catch_warnings():  # Keras also warns of layers that it found nothing for
            warnings.simplefilter("error", UserWarning)
            load(path)
    except (ValueError, OSError, KeyError, TypeError, AttributeError, UserWarning) as exc:
        reason = str(exc).partition("\n")[0]
        raise ArtifactError(
            f"{file or path} does not hold weights of {backbone.name}: {reason} "
            f"Expected {expected}."
        ) from exc


def download_weights(backbone: Backbone, path: Path, *, classes: bool = False) -> None:
    """Lets Keras fetch ImageNet weights into its cache; it checks what it got.

    Args:
        backbone: One that Keras publishes.
        path: Where they are expected then.
        classes: Whether with the 1,000 classes.

    Raises:
        OptionError: It could not, or put them elsewhere.
    """
    assert backbone.application is not None, "only Keras fetches"
    with (
        mapped(
            OptionError,
            f"Keras could not download {path.name}",
            f"Copy the file to {path.parent} from a machine that can, or give it with "
            "--weights FILE.",
        ),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", UserWarning)  # that the weights are those for 224 pixels
        getattr(keras.applications, backbone.application)(include_top=classes, weights="imagenet")
    if not path.is_file():
        raise OptionError(
            f"Keras downloaded weights, but not as {path}. Give their file with --weights FILE."
        )
