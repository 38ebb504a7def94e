"""Checks that a tag may become a release: version, changelog and addresses are there.

    python tools/check_release.py v0.1.0

The release workflow asks before it builds anything.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def release_problems(tag: str, project: str, changelog: str) -> list[str]:
    """What keeps `tag` from being released, given the texts of pyproject.toml and CHANGELOG.md."""
    match = re.search(r'^version = "(.+)"', project, re.MULTILINE)
    version = match[1] if match else ""
    problems = []
    if tag != f"v{version}":
        problems.append(f"the tag is {tag}, the version in pyproject.toml {version!r}")
    if not re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        problems.append(f"CHANGELOG.md lacks the line '## {version} - YYYY-MM-DD'")
    if re.search(r"^## Unreleased", changelog, re.MULTILINE):
        problems.append("CHANGELOG.md still has a section 'Unreleased'")
    if not re.search(r"^\[project\.urls\]$", project, re.MULTILINE):
        problems.append("pyproject.toml lacks [project.urls], as the repository had no address")
    return problems


def main() -> int:
    problems = release_problems(
        sys.argv[1], (ROOT / "pyproject.toml").read_text(), (ROOT / "CHANGELOG.md").read_text()
    )
    print("\n".join(problems) or f"{sys.argv[1]} may be released")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
