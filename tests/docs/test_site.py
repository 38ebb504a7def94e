"""The site as `make docs` builds it: complete, and nothing in it loaded from outside."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import edgeclf
from support import REPOSITORY

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
LAZY = {"canonical", "next", "prev"}  # of <link>: named and not loaded

needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None,
    reason="needs edgeclf[docs]",
)


class Page(HTMLParser):
    """What a page loads, where it leads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors.add(given.get("id") or "")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        elif tag in LOADED and given.get(LOADED[tag]) and given.get("rel") not in LAZY:
            self.loaded.append(given[LOADED[tag]] or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=REPOSITORY, capture_output=True, text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


@needs_mkdocs
def test_nothing_is_loaded_from_outside(site: Path, pages: dict[Path, Page]) -> None:
    assert len(pages) > 20
    for path, page in pages.items():
        for target in page.loaded:
            assert not urlsplit(target).netloc, f"{path.name} loads {target}"
            if path.name != "404.html":  # whose paths count from the server's root
                assert (path.parent / unquote(urlsplit(target).path)).is_file(), target
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert "url(http" not in text and "@import" not in text, style


@needs_mkdocs
def test_every_link_and_anchor_leads_somewhere(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.netloc or parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.name} leads to {link}"
            if parts.fragment and target in pages:
                assert parts.fragment in pages[target].anchors, f"{path.name} leads to {link}"


@needs_mkdocs
def test_the_reference_has_every_public_name_and_the_search_works_from_a_folder(
    site: Path, pages: dict[Path, Page]
) -> None:
    anchors = set().union(*(page.anchors for page in pages.values()))
    for name in edgeclf.__all__:
        homes = (f"edgeclf.{name}", f"edgeclf.{name}.{name}", f"edgeclf.errors.{name}")
        assert anchors.intersection(homes), name
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = ") and "edgeclf.Classifier" in index
    home = pages[site / "index.html"]
    assert any("iframe-worker" in script for script in home.loaded)
