"""A benchmark as one HTML page that loads nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from itertools import groupby
from typing import Any

from edgeclf.errors import MissingDependencyError
from edgeclf.reporting import text
from edgeclf.reporting.summary import Summary

STAGES = ("decode", "preprocess", "inference", "total")


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
        runtime_details=text.runtime_details,
        size=text.size,
    )
    environment.globals.update(count=text.count, duration=text.duration, size=text.size)
    source = files("edgeclf.reporting").joinpath("template.html.j2").read_text(encoding="utf-8")
    measured = [row for row in results["rows"] if not row["error"]]
    return environment.from_string(source).render(
        results=results,
        summary=summary,
        groups=[(name, list(group)) for name, group in groupby(results["rows"], _model)],
        stages=STAGES,
        phases=list(measured[0]["memory"]["phases"]) if measured else [],
        facts=text.environment_facts(results),
        dashed=any(
            percentile is None
            for row in measured
            for stage in row["latency"]["stages_ms"].values()
            for percentile in stage.values()
        ),
        # Safe: plots.py builds the SVG as a tree, which escapes every text in it.
        plots=[(plot, Markup(plot.svg)) for plot in draw_plots(results["rows"])],
    )


def _model(row: Mapping[str, Any]) -> str:
    return str(row["model"])
