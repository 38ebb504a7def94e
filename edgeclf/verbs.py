"""The verbs: what each does, and which extra brings those that a device does not store."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import NamedTuple

from edgeclf.errors import MissingDependencyError


class Verb(NamedTuple):
    """A verb, which is the module and the function of its name.

    Args:
        text: What it does; kept here, so that the help is printed without importing any verb.
        extra: What brings it with all that it needs, unless it is in the device's wheel.
        module: Where its arguments are, if not in the module of its name: that is a room then.
    """

    text: str
    extra: str | None = None
    module: str | None = None


VERBS = {
    "train": Verb("train a classifier on a folder of photos", "train"),
    "backbones": Verb("list the networks that can be trained, and what they cost", "train"),
    "zoo": Verb("list published ImageNet networks, and make artifacts of them", "zoo"),
    "distill": Verb("train a small student on a teacher's answers", "train"),
    "prune": Verb("remove channels from a trained network, and teach it again", "train"),
    "fit": Verb("search a student that keeps to a device's budget, and train it", "all"),
    "convert": Verb("turn a trained model into verified TFLite and ONNX artifacts", "convert"),
    "calibrate": Verb("make a file say how sure it is, and what it does not know"),
    "verify": Verb("replay an artifact's certificate on this machine"),
    "inspect": Verb("print what an artifact knows about itself"),
    "classify": Verb("classify photos"),
    "register": Verb("make a file a version of a model in an MLflow registry", "registry"),
    "promote": Verb("give a version an alias, if it shows that it may have it", "registry"),
    "serve": Verb("answer pictures over HTTP, by the file that was tested", "serve"),
    "ui": Verb("show a page that classifies pictures, here or in the browser", "web"),
    "load": Verb("load a service at a rate, and tell what it answered in time", "serve"),
    "bulk": Verb("classify pictures by the million into a table", "bulk"),
    "monitor": Verb("tell whether a service's pictures and answers have drifted", "serve"),
    "fleet": Verb(
        "publish models to devices that update themselves", "publish", "publishing.command"
    ),
    "update": Verb(
        "take the model that was ordered for this device, if it proves itself here", "fleet"
    ),
    "explain": Verb("show where in a photo an answer came from"),
    "autotune": Verb("find the fastest runtime and threads for a file on this device"),
    "compare": Verb("hold students against their teacher: size, speed, accuracy, answers", "all"),
    "benchmark": Verb("measure artifacts on this machine"),
    "profile": Verb("time every operator of a model, and hold it against this CPU's peak"),
    "report": Verb("write benchmark results as HTML, Markdown, CSV and JSON", "report"),
    "doctor": Verb("tell which runtimes work here"),
    "demo": Verb("run all of it on the mugs example", "all"),
}


def import_verb(name: str) -> ModuleType:
    """Imports `edgeclf.NAME`, the module of a verb or of a public name.

    Raises:
        MissingDependencyError: It belongs to another wheel than those that are installed.
    """
    home = VERBS[name].module if name in VERBS else None
    module = f"edgeclf.{home or name}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module}.".startswith(f"{exc.name}."):
            raise
        purpose = f"'edgeclf {name}'" if name in VERBS else module
        raise MissingDependencyError(exc.name, _extra(name), purpose) from None


def import_room(name: str) -> ModuleType:
    """Imports `edgeclf.NAME`, a room that is public as it is; its extra has its name.

    Raises:
        MissingDependencyError: It belongs to another wheel than those that are installed.
    """
    module = f"edgeclf.{name}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name != module:
            raise
        raise MissingDependencyError(module, name, module) from None


def _extra(name: str) -> str:
    """The extra that brings a module: its verb's; of a folder, that of the verb it is named after.

    ``converters.source_spec`` is brought by what brings ``convert``.
    """
    named_after = (verb.extra for word, verb in VERBS.items() if name.startswith(word))
    return next(named_after, None) or "all"
