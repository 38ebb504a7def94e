"""Builds every backbone and writes what it costs into the table that `edgeclf backbones` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import edgeclf
from edgeclf.networks.builder import BACKBONES, Backbone, build_classifier, input_spec
from edgeclf.networks.model_stats import backbone_figures

TABLE = Path(edgeclf.__file__).parent / "networks" / "backbones.json"


def row(backbone: Backbone) -> dict[str, Any]:
    model = build_classifier(backbone, 2, input_spec(backbone, 96))
    assert backbone.unfreeze_from in {layer.name for layer in model.layers}, backbone
    return {
        **backbone_figures(backbone),
        "weights_package": backbone.weights_package,
        "weights_extra": backbone.weights_extra,
        "weights_file": backbone.weights_file,
    }


def main() -> None:
    rows = {name: row(backbone) for name, backbone in BACKBONES.items()}
    TABLE.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
