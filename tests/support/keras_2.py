"""Files of Keras 3 as Keras 2 would have written them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

_ONE_GROUP = ("DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose")


def say_groups(file: Path) -> None:
    """Lets a ``.keras`` or ``.h5`` say of layers of one group that they have one."""
    if file.suffix == ".h5":
        import h5py

        with h5py.File(file, "a") as stored:
            config = json.loads(stored.attrs["model_config"])
            stored.attrs["model_config"] = json.dumps(_with_groups(config))
        return
    with zipfile.ZipFile(file) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members["config.json"] = json.dumps(_with_groups(json.loads(members["config.json"]))).encode()
    with zipfile.ZipFile(file, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)


def _with_groups(config: Any) -> Any:
    if isinstance(config, list):
        return list(map(_with_groups, config))
    if not isinstance(config, dict):
        return config
    old = {name: _with_groups(value) for name, value in config.items()}
    if old.get("class_name") in _ONE_GROUP:
        old["config"]["groups"] = 1
    return old
