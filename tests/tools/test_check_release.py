from __future__ import annotations

import runpy
from collections.abc import Callable

import pytest

from support import REPOSITORY

release_problems: Callable[[str, str, str], list[str]] = runpy.run_path(
    str(REPOSITORY / "tools" / "check_release.py")
)["release_problems"]
PROJECT = 'version = "1.2.3"\n\n[project.urls]\nRepository = "https://example.invalid"\n'
CHANGELOG = "# Changelog\n\n## 1.2.3 - 2026-12-24\n\n### Added\n"


def test_a_tag_that_fits_may_be_released() -> None:
    assert release_problems("v1.2.3", PROJECT, CHANGELOG) == []


@pytest.mark.parametrize(
    ("tag", "project", "changelog", "said"),
    [
        ("v1.2.4", PROJECT, CHANGELOG, "the tag is v1.2.4"),
        ("1.2.3", PROJECT, CHANGELOG, "the tag is 1.2.3"),
        ("v1.2.3", PROJECT, CHANGELOG.replace("1.2.3", "1.2.30"), "lacks the line '## 1.2.3 - "),
        ("v1.2.3", PROJECT, CHANGELOG.replace("1.2.3", "1x2.3"), "lacks the line '## 1.2.3 - "),
        ("v1.2.3", PROJECT, CHANGELOG.replace(" - 2026-12-24", ""), "lacks the line"),
        ("v1.2.3", PROJECT, "## Unreleased\n\n" + CHANGELOG, "still has a section 'Unreleased'"),
        ("v1.2.3", PROJECT.replace("urls", "scripts"), CHANGELOG, "lacks [project.urls]"),
    ],
)
def test_what_does_not_fit_is_named(tag: str, project: str, changelog: str, said: str) -> None:
    (problem,) = release_problems(tag, project, changelog)
    assert said in problem


def test_what_lies_here_lacks_nothing_but_the_addresses() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    version = project.partition('\nversion = "')[2].partition('"')[0]
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    problems = release_problems(f"v{version}", project, changelog)
    assert [p for p in problems if "urls" not in p] == []
