"""`edgeclf report`: benchmark results as HTML, Markdown and JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeclf import files
from edgeclf.errors import OptionError

SCHEMA = "edgeclf.report/1"


def report(benchmark: str | os.PathLike[str], *, out: str | os.PathLike[str] | None = None) -> Path:
    """Writes what `edgeclf.benchmark` measured as ``report.html``, ``report.md``, ``report.json``.

    Args:
        benchmark: The JSON file that `edgeclf.benchmark` wrote.
        out: Folder for the three files; by default the folder of `benchmark`.

    Returns:
        The HTML page: one file that loads nothing from outside.

    Raises:
        OptionError: `benchmark` cannot be read, or is no benchmark result.
        MissingDependencyError: jinja2 or matplotlib is not installed; nothing was written.
    """
    from edgeclf.reporting.html import to_html
    from edgeclf.reporting.markdown import to_markdown
    from edgeclf.reporting.summary import summarize

    path = Path(benchmark)
    results = _read(path)
    summary = summarize(results)
    page = Path(path.parent if out is None else out) / "report.html"
    # All of it is rendered before the first file is written, so the three stay one set.
    html, markdown = to_html(results, summary), to_markdown(results, summary)
    files.write_text(page, html)
    files.write_text(page.with_suffix(".md"), markdown)
    files.write_json(
        page.with_suffix(".json"),
        {"schema": SCHEMA, "summary": asdict(summary), "benchmark": results},
    )
    return page


def _read(path: Path) -> dict[str, Any]:
    from edgeclf.measurement.matrix import SCHEMA as EXPECTED

    hint = "Expected the JSON file that 'edgeclf benchmark' wrote."
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise OptionError(f"Cannot read {path}: {exc.strerror}. {hint}") from exc
    except ValueError as exc:
        raise OptionError(f"{path} is not JSON: {exc}. {hint}") from exc
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != EXPECTED:
        raise OptionError(f"{path} has the schema {schema!r}, not {EXPECTED!r}. {hint}")
    if not results.get("rows"):
        raise OptionError(f"{path} holds no rows. {hint}")
    return dict(results)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("benchmark", help="the JSON file that 'edgeclf benchmark' wrote")
    parser.add_argument("--out", metavar="DIR", help="default: the folder of that file")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    page = report(args.benchmark, out=args.out)
    for path in (page, page.with_suffix(".md"), page.with_suffix(".json")):
        print(path)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["report", *sys.argv[1:]]))
