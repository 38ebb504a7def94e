"""What every HTML page of a report has: its templates, and the files beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.errors import MissingDependencyError
from edgeclf.system.files import write_text
from edgeclf.system.progress import log

if TYPE_CHECKING:
    import jinja2


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
        log(f"  no page was written: {exc}")
