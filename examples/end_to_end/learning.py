"""Baseline, search, choice and conversion; the test table is never looked at here."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

from plan import MODELS, Plan

import edgeclf
from edgeclf.system import files
from edgeclf.system.progress import log

_TITLES = {"baseline": "train the baseline", "tuned": "search the settings and train the best"}


def train(plan: Plan, model: str) -> None:
    """Trains one of the two; MLflow gets parameters, curves and the file of each."""
    settings = plan.learning(model)
    plan.stages.run(
        _TITLES[model],
        lambda: edgeclf.train(
            plan.table("train"), evaluation=plan.table("val"), out=plan.out / model,
            mlflow=plan.registry, **settings,
        ),
        settings=[version("edgeclf"), settings],
        inputs=[plan.table("train"), plan.table("val"), plan.photos],
        outputs=[plan.trained(model)],
    )  # fmt: skip


def choose(plan: Plan) -> dict[str, Any]:
    """The better of the two on the validation pictures, which trained neither.

    The search judged by others still: 15 % of the training pictures. Of equals it is the smaller.
    """
    rows = {model: _row(plan, model) for model in MODELS}
    order = sorted(rows, key=lambda model: (-rows[model]["top1"], rows[model]["size_bytes"]))
    choice = {"chosen": order[0], "by": "top-1 on val.csv", "models": rows}
    files.write_json(plan.choice, choice)
    for model in MODELS:
        log(f"  {model:<9} top-1 {rows[model]['top1']:.1%} on the validation pictures")
    log(f"  chosen: {order[0]}")
    return choice


def chosen(plan: Plan) -> str:
    """Which of the two it is."""
    return str(json.loads(plan.choice.read_text())["chosen"])


def _row(plan: Plan, model: str) -> dict[str, Any]:
    artifact = edgeclf.load_artifact(plan.trained(model))
    measured = (artifact.metadata.accuracy or {})["source"]
    settings = (artifact.metadata.training or {})["settings"]
    return {
        **{key: measured[key] for key in ("top1", "top1_interval_95", "images")},
        "size_bytes": artifact.size_bytes,
        "settings": {
            key: settings[key] for key in ("backbone", "learning_rate", "augmentation", "epochs")
        },
        "sha256": artifact.sha256,
    }


def convert(plan: Plan) -> None:
    """int8 of both, gated and calibrated on the validation pictures.

    Both, because the registry gets both: a service can go back to the one before.
    """
    for model in MODELS:
        _convert(plan, model)


def _convert(plan: Plan, model: str) -> None:
    def work() -> None:
        for old in (plan.out / model).glob("*.tflite"):
            old.unlink()
        edgeclf.convert(
            plan.trained(model), calibration=plan.table("train"), evaluation=plan.table("val"),
            to=["int8.tflite"], tolerance=plan.size.tolerance, calibrate=True,
            unknown=plan.unknown,
        )  # fmt: skip

    plan.stages.run(
        f"convert the {model} model to int8",
        work,
        settings=[version("edgeclf"), plan.size.tolerance],
        inputs=[plan.trained(model), plan.table("train"), plan.table("val"), plan.photos,
                *([plan.unknown] if plan.unknown else [])],
        outputs=[plan.artifact(model), plan.out / model / f"{plan.name}-teacher.conversion.json"],
    )  # fmt: skip
