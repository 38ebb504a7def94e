"""What the documentation's site takes from outside of docs/, for mkdocs.

Some pages lie where a reader of the repository looks for them: the changelog, the READMEs of
examples and benchmarks. They become pages of the site, with the pictures they show. Links are
written as they are followed in the repository; here, those to such a page lead to it on the site,
and those to other files become plain text, or links into `repo_url` once mkdocs.yml has one.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Of each page from outside: its path in the repository, and in the site.
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    **{
        f"examples/{page.parent.name}/README.md": f"examples/{page.parent.name}.md"
        for page in sorted(ROOT.glob("examples/*/README.md"))
    },
}
_PICTURES = (".png", ".svg")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<path>[^)#\s]*)(?P<anchor>#[^)]*)?\)")
_FAR = re.compile(r"[a-z]+:")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages from outside, and their pictures."""
    for path, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
        for link in _links((ROOT / path).read_text(encoding="utf-8")):
            picture = posixpath.normpath(posixpath.join(posixpath.dirname(path), link["path"]))
            if picture.endswith(_PICTURES) and files.get_file_from_path(picture) is None:
                files.append(File.generated(config, picture, abs_src_path=str(ROOT / picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the repository's links into the site's."""
    at = page.file.src_uri
    origin = {page: path for path, page in OUTSIDE.items()}.get(at, f"docs/{at}")

    def site_link(link: re.Match[str]) -> str:
        if not link["path"] or _FAR.match(link["path"]):
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link["path"]))
        if not (ROOT / target).exists():
            raise PluginError(f"{origin} links to {target}, which is not there.")
        file = files.get_file_from_path(_on_site(target))
        if file is not None:
            shown = posixpath.relpath(file.src_uri, posixpath.dirname(at) or ".")
            return f"{link['image']}[{link['text']}]({shown}{link['anchor'] or ''})"
        if config.repo_url:
            kind = "tree" if (ROOT / target).is_dir() else "blob"
            return f"[{link['text']}]({config.repo_url.rstrip('/')}/{kind}/main/{target})"
        return link["text"] if link["text"].startswith("`") else f"`{target}`"

    pieces, end = [], 0
    for fence in _FENCE.finditer(markdown):
        pieces += [_LINK.sub(site_link, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*pieces, _LINK.sub(site_link, markdown[end:])])


def _on_site(path: str) -> str:
    """Where a path of the repository lies on the site, if it does."""
    readme = posixpath.join(path, "README.md")
    return OUTSIDE.get(path) or OUTSIDE.get(readme) or path.removeprefix("docs/")


def _links(markdown: str) -> Iterator[re.Match[str]]:
    return _LINK.finditer(_FENCE.sub("", markdown))
