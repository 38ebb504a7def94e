"""The files of deploy/, read as those that run them read them."""

from __future__ import annotations

import argparse
import configparser
import json
import re
import runpy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from support import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").iterdir())
KSERVE = sorted((DEPLOY / "kserve").iterdir())
UNIT = DEPLOY / "systemd" / "edgeclf.service"


def documents(path: Path) -> list[Any]:
    """What a YAML file holds."""
    import yaml

    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def manifest(name: str) -> dict[str, Any]:
    """The one object of a manifest, by its path in deploy/."""
    (found,) = documents(DEPLOY / name)
    assert isinstance(found, dict)
    return found


def container(name: str) -> dict[str, Any]:
    """The container of the service in a manifest."""
    spec = manifest(name)["spec"]
    (found,) = spec.get("template", {}).get("spec", spec)["containers"]
    assert isinstance(found, dict)
    return found


def unit() -> configparser.SectionProxy:
    """The section of systemd's unit that says how it runs."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return parser["Service"]


def instructions() -> Iterator[tuple[str, str]]:
    """The Dockerfile's instructions and what follows each, on one line."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word, " ".join(rest.split())


def instruction(word: str) -> str:
    """What follows the last one of that name."""
    return [rest for each, rest in instructions() if each == word][-1]


def commands() -> dict[str, list[str]]:
    """The words after `edgeclf serve` in every file that starts the service."""
    started = {
        "Dockerfile": json.loads(instruction("CMD")),
        "compose.yaml": manifest("compose.yaml")["services"]["edgeclf"]["command"],
        "deployment.yaml": container("kubernetes/deployment.yaml")["args"],
        "runtime.yaml": container("kserve/runtime.yaml")["args"],
        "edgeclf.service": unit()["ExecStart"].split(" -m edgeclf ")[1].split(),
    }
    assert all(words[0] == "serve" for words in started.values())
    return {name: words[1:] for name, words in started.items()}


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Arguments of the verb as it reads them."""
    from edgeclf.serve import add_arguments

    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    return parser.parse_args(words)


def tool(path: str) -> dict[str, Any]:
    """The names in one of the repository's scripts."""
    return runpy.run_path(str(REPOSITORY / path))
