"""A benchmark as one HTML page that loads nothing from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.errors import MissingDependencyError
from edgeclf.files import write_text
from edgeclf.progress import say
from edgeclf.reporting import text
from edgeclf.reporting.summary import Summary

if TYPE_CHECKING:
    import jinja2

_STAGES = ("decode", "preprocess", "inference", "total")


def page_environment() -> jinja2.Environment:
    """Renders this package's pages: escapes every text and refuses a name that is not given.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as exc:
        raise MissingDependencyError("jinja2", "report", "Writing the report") from exc
    here = files("edgeclf.reporting")
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: here.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_pages(
    path: Path,
    record: Mapping[str, Any],
    to_markdown: Callable[[Mapping[str, Any]], str],
    to_html: Callable[[Mapping[str, Any]], str],
) -> None:
    """Writes ``.md`` and ``.html`` beside a JSON file; says so where the page cannot be made."""
    write_text(path.with_suffix(".md"), to_markdown(record))
    try:
        write_text(path.with_suffix(".html"), to_html(record))
    except MissingDependencyError as exc:
        say(f"  no page was written: {exc}")


def to_html(results: Mapping[str, Any], summary: Summary) -> str:
    """The whole report as one page.

    Args:
        results: What `edgeclf.benchmark` returned.
        summary: What was derived from it.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    environment = page_environment()
    from markupsafe import Markup

    from edgeclf.reporting.plots import draw_plots

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
    measured = [row for row in results["rows"] if not row["error"]]
    return environment.get_template("template.html.j2").render(
        results=results,
        summary=summary,
        lead=text.unbroken(" ".join(summary.sentences)),
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
