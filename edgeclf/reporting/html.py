"""A benchmark as one HTML page that loads nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from itertools import groupby
from typing import Any

from edgeclf.errors import MissingDependencyError
from edgeclf.reporting import text
from edgeclf.reporting.summary import Summary

_STAGES = ("decode", "preprocess", "inference", "total")
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|[kMG]?B|m?s)(?!\w))")


def to_html(results: Mapping[str, Any], summary: Summary) -> str:
    """The whole report as one page.

    Args:
        results: What `edgeclf.benchmark` returned.
        summary: What was derived from it.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as exc:
        raise MissingDependencyError("jinja2", "report", "Writing the report") from exc
    from edgeclf.reporting.plots import draw_plots

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        agreement=text.agreement,
        count=text.count,
        duration=text.duration,
        interval=text.interval,
        ms=text.milliseconds,
        percent=text.percent,
        points=text.points,
        ratio=text.ratio,
        runtime_library=text.runtime_library,
        runtime_place=text.runtime_place,
        size=text.size,
    )
    environment.globals.update(count=text.count, duration=text.duration, size=text.size)
    source = files("edgeclf.reporting").joinpath("template.html.j2").read_text(encoding="utf-8")
    measured = [row for row in results["rows"] if not row["error"]]
    return environment.from_string(source).render(
        results=results,
        summary=summary,
        lead=_BEFORE_UNIT.sub("\u00a0", " ".join(summary.sentences)),
        groups=[(name, list(group)) for name, group in groupby(results["rows"], _model)],
        stages=_STAGES,
        phases=list(measured[0]["memory"]["phases"]) if measured else [],
        facts=text.environment_facts(results),
        dashed_total=any(row["latency"]["stages_ms"]["total"]["p90"] is None for row in measured),
        dashed_stages=any(
            stage[percentile] is None
            for row in measured
            for name, stage in row["latency"]["stages_ms"].items()
            for percentile in (("p90", "p99") if name == "total" else ("p90",))
        ),
        # Safe: plots.py builds the SVG as a tree, which escapes every text in it.
        plots=[(plot, Markup(plot.svg)) for plot in draw_plots(results["rows"])],
    )


def _model(row: Mapping[str, Any]) -> str:
    return str(row["model"])
