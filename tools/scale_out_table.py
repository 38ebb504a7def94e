"""What the pages show of `scale_out.py` and `ray_serving.py`: replicas, and Ray beside none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeclf.reporting import text
from edgeclf.reporting.markdown import markdown_table

COLUMNS = ("Replicas", "Busy", "Queue", "Requests", "p50, ms", "formula", "p99, ms", "95 %",
           "formula", "over formula")  # fmt: skip


def scale_out(folder: Path, *, plot: bool) -> str:
    """A row for each case, and what of it was this machine's CPU.

    Args:
        folder: Of the results.
        plot: Whether the page shows the plots, too.
    """
    parts = []
    for path in sorted(folder.glob("scale_out.*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        picture = path.with_suffix(".svg")
        if plot and picture.exists():
            what = "Measured latency of replicas beside the formula for one queue"
            parts.append(f"![{what}]({folder.name}/{picture.name})")
        parts.append(markdown_table(COLUMNS, list(map(_cells, document["rows"])), 3))
        parts.append(" ".join(_words(document)))
    return "\n\n".join(parts)


def ray_serving(folder: Path) -> str:
    """What Ray adds to the service."""
    parts = []
    for path in sorted(folder.glob("ray_serving.*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        lines = [
            (figure["what"], f"{text.digits(figure['value'])} {figure['unit']}".strip(),
             figure["note"])
            for figure in document["figures"]
        ]  # fmt: skip
        parts += [markdown_table(("What", "Measured", ""), lines, 1), _where(document)]
    return "\n\n".join(parts)


def _where(document: Mapping[str, Any]) -> str:
    found = document["environment"]
    return (
        f"Measured on {found['cpu']}, {found['cpus_available']} CPUs, kernel {found['kernel']}, "
        f"Python {found['python']}; commit {found['commit']}: `{found['command']}`. "
        f"{document['method']}."
    )


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    case = row["case"]
    low, high = row["p99_interval_ms"]
    formula = case["central"]
    return (
        str(case["replicas"]),
        text.percent(case["busy"]),
        "one, in HAProxy" if case["central"] else f"one a replica, {case['balance']}",
        f"{row['n']:,}",
        f"{row['p50_ms']:.1f}",
        f"{row['formula_p50_ms']:.1f}" if formula else text.DASH,
        f"{row['p99_ms']:.1f}",
        f"{low:.1f}–{high:.1f}",
        f"{row['formula_p99_ms']:.1f}" if formula else text.DASH,
        f"{row['ratio_p99']:.3f}" if formula else text.DASH,
    )


def _words(document: Mapping[str, Any]) -> Iterator[str]:
    found, profile, rows = document["environment"], document["profile"], document["rows"]
    beyond = profile["service_ms"] - profile["wait_ms"]
    cpu = {
        name: sorted(row["cpu_ms"][name] for row in rows)[len(rows) // 2]
        for name in ("replica", "balancer", "generator")
    }
    yield (
        f"Of a request that meets nobody ({profile['service_ms']:.2f} ms), {beyond:.2f} ms are not "
        f"the runtime's wait: the service, HAProxy, the network and the generator."
    )
    yield (
        f"CPU time a request: replica {cpu['replica']:.2f} ms, HAProxy {cpu['balancer']:.2f} ms, "
        f"generator {cpu['generator']:.2f} ms (medians of the rows); at most "
        f"{max(row['own_cpus'] for row in rows):.2f} of {found['cpus_available']} CPUs."
    )
    yield _where(document)
