"""The model card: what was measured and decided, from the records of a run."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from typing import Any

from gate import Limit
from learning import chosen
from plan import Plan

from edgeclf.system import files

_TRIALS = 5  # of the best ones


def write_card(plan: Plan, limits: Sequence[Limit]) -> None:
    """Writes ``model_card.md``; nothing in it is typed by hand."""
    facts = json.loads(plan.facts.read_text())
    choice = json.loads(plan.choice.read_text())
    parts = [
        *_head(plan, facts), *_data(facts["data"]), *_training(plan, choice), *_results(facts),
        *_limits(limits), *_conditions(facts),
    ]  # fmt: skip
    files.write_text(plan.card, "\n".join(parts) + "\n")


def _head(plan: Plan, facts: dict[str, Any]) -> list[str]:
    model, labels = facts["model"], facts["model"]["labels"]
    height, width = model["input"]
    drawn = (
        "The pictures are drawings. It has not seen a road, and no figure here says what it would "
        "do there."
        if plan.data is None
        else "Nothing is known of pictures from other places, cameras or seasons than those of the "
        "data."
    )
    return [
        f"# Model card: {plan.name}",
        "",
        f"Tells {len(labels)} classes apart: {', '.join(labels)}.",
        "",
        "| | |",
        "|---|---|",
        f"| file | {model['precision']}, {model['size_bytes'] / 1e3:,.0f} kB, "
        f"{model['parameters']:,} parameters, input {height}x{width} |",
        f"| SHA-256 | `{model['sha256']}` |",
        f"| answers | label, probabilities, calibrated confidence, whether it is unknown; "
        f"{facts['called_unknown']:.1%} of the test pictures are called so |",
        "",
        f"**Not for** decisions that nobody looks at. {drawn} Every picture gets one of the "
        "classes; `unknown` tells other worlds from the known one, not a new kind from its nearest "
        "kin.",
        "",
    ]


def _data(data: dict[str, Any]) -> list[str]:
    rows = [
        (split, f"{each['pictures']:,}", f"{each['things']:,}", f"`{each['sha256'][:12]}`")
        for split, each in data["splits"].items()
    ]
    leaks = data["leaks"]
    return [
        "## Data",
        "",
        f"{data['pictures']:,} pictures of {data['things']:,} different things, {data['origin']}.",
        "",
        *_table(("table", "pictures", "things", "hash"), rows),
        "",
        f"In two tables at once: {leaks['pictures']} pictures, {leaks['things']} things, "
        f"{leaks['near_copies']} near copies.",
        "",
    ]


def _training(plan: Plan, choice: dict[str, Any]) -> list[str]:
    models = [
        (name, row["settings"]["backbone"], _rate(row["settings"]["learning_rate"]),
         f"{row['settings']['augmentation']:g}", _share(row["top1"], row["top1_interval_95"]))
        for name, row in choice["models"].items()
    ]  # fmt: skip
    return [
        "## Training and tuning",
        "",
        *_table(("model", "network", "learning rate", "augmentation", "top-1, validation"), models),
        "",
        f"Chosen: **{choice['chosen']}**, by {choice['by']}. The best trials of the search, by the "
        "loss on training pictures that were set aside:",
        "",
        *_table(
            ("trial", "network", "parameters", "learning rate", "augmentation", "loss", "top-1"),
            _trials(plan),
        ),
        "",
    ]


def _trials(plan: Plan) -> list[tuple[str, ...]]:
    path = plan.trained("tuned").with_suffix(".search.csv")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ended = [row for row in rows if row["outcome"] == "complete"]
    best = sorted(ended, key=lambda row: float(row["validation_loss"]))[:_TRIALS]
    return [
        (row["trial"], row["backbone"], f"{int(row['parameters']):,}", row["learning_rate"],
         row["augmentation"], f"{float(row['validation_loss']):.4f}",
         f"{float(row['validation_accuracy']):.1%}")
        for row in best
    ]  # fmt: skip


def _results(facts: dict[str, Any]) -> list[str]:
    agreement, latency = facts["agreement"], facts["latency_ms"]
    opened = (
        "once" if facts["opened"] == 1 else f"for {facts['opened']} models, one after the other"
    )
    return [
        "## Results",
        "",
        f"On {facts['pictures']:,} test pictures of {facts['things']:,} things, opened {opened}.",
        "",
        *_table(
            ("figure", "measured"),
            [
                ("top-1, interval by things", _share(facts["top1"], facts["top1_interval_95"])),
                ("calibration error of the confidence", f"{facts['calibration_error']:.3f}, "
                 f"before calibration {facts['calibration_error_before']:.3f}"),
                ("answers like the network it was made of",
                 f"{agreement['top1_agreement']:.1%}, probabilities within "
                 f"{agreement['max_change']:.3f}"),
                ("one picture, file to answer", f"median {latency['p50']:.2f} ms, "
                 f"p99 {latency['p99']:.2f} ms, n {latency['n']:,}"),
                ("certificate replayed", f"{facts['certificate']['images']} answers, largest "
                 f"change {facts['certificate']['max_change']:.6f}"),
            ],
        ),
        "",
        *_table(("class", "top-1"), [(k, f"{v:.1%}") for k, v in facts["by_class"].items()]),
        "",
        *_table(
            ("pictures that are", "top-1", "pictures"),
            [(name, f"{each['top1']:.1%}", f"{each['pictures']:,}")
             for name, each in facts["slices"].items()],
        ),
        "",
    ]  # fmt: skip


def _limits(limits: Sequence[Limit]) -> list[str]:
    rows = [
        (each.figure, f"{each.bound.replace('_', ' ')} {each.wanted:g}",
         "not measured" if each.measured is None else f"{each.measured:.4g}",
         "yes" if each.held else "**missed**")
        for each in limits
    ]  # fmt: skip
    return ["## Limits", "", *_table(("figure", "limit", "measured", "held"), rows), ""]


def _conditions(facts: dict[str, Any]) -> list[str]:
    where = facts["environment"]
    libraries = ", ".join(f"{name} {version}" for name, version in where["libraries"].items())
    return [
        "## How it was measured",
        "",
        f"{where['date']} on {where['cpu']}, {where['cpus_available']} CPUs, Python "
        f"{where['python']}, {libraries}; commit {where['commit'] or 'not known'}. Latency on the "
        "machine as it was, which others may have used too.",
    ]


def _rate(value: float | None) -> str:
    return "2e-3 (default)" if value is None else f"{value:g}"


def _share(value: float, interval: Sequence[float]) -> str:
    return f"{value:.1%} [{interval[0]:.1%}, {interval[1]:.1%}]"


def _table(heading: tuple[str, ...], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [heading, ("---",) * len(heading), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def summary(plan: Plan) -> str:
    """The chosen model in two lines, for the end of a run."""
    facts = json.loads(plan.facts.read_text())
    return (
        f"{chosen(plan)}: top-1 {_share(facts['top1'], facts['top1_interval_95'])} on "
        f"{facts['pictures']:,} test pictures, {facts['model']['size_bytes'] / 1e3:,.0f} kB, "
        f"p99 {facts['latency_ms']['p99']:.2f} ms"
    )
