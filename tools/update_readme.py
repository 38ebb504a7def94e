"""Pastes the summary and main table of a benchmark into the README.

python tools/update_readme.py runs/demo/benchmark.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from edgeclf.reporting.markdown import environment_line, main_table
from edgeclf.reporting.summary import summarize

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN = "<!-- demo-table: written by tools/update_readme.py -->"
END = "<!-- /demo-table -->"


def main() -> int:
    results = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    summary = summarize(results)
    where = environment_line(results).partition("\n\n```")[0]  # the command stands above already
    body = "\n\n".join([" ".join(summary.sentences), main_table(results, summary), where])
    text = README.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    README.write_text(pattern.sub(lambda _: f"{BEGIN}\n{body}\n{END}", text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
