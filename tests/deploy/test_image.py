"""deploy/Dockerfile, what comes into it, and the versions it installs."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch

import pytest

from support import REPOSITORY, deployment
from support.deployment import instruction, instructions, parsed

pytest.importorskip("tomllib", reason="needs Python 3.11")
REQUIREMENTS = deployment.DEPLOY / "requirements.txt"
LOCK = deployment.tool("tools/lock_requirements.py")


def locked() -> dict[str, list[str]]:
    """The lines of each requirement: the first says it, the others are its hashes."""
    text = re.sub(r"^#.*\n", "", REQUIREMENTS.read_text(), flags=re.MULTILINE)
    blocks = [block.split() for block in text.replace("\\\n", " ").splitlines() if block.strip()]
    return {" ".join(w for w in words if not w.startswith("--")): words for words in blocks}


def test_every_requirement_is_one_version_with_its_hashes() -> None:
    assert len(locked()) > 15
    for said, words in locked().items():
        assert re.match(r"[\w.-]+==[\w.]+( ; .+)?$", said), said
        hashes = [word for word in words if word.startswith("--")]
        assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", h) for h in hashes), said
    assert "://" not in REQUIREMENTS.read_text()  # whose index it was is no one's matter


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_versions_satisfy_what_the_package_asks_for(version: str) -> None:
    from packaging import requirements as packaging
    from packaging import utils

    here = {"python_version": version, "python_full_version": f"{version}.0"}
    found = {}
    for said in locked():
        requirement = packaging.Requirement(said)
        if requirement.marker is None or requirement.marker.evaluate(here):
            name = utils.canonicalize_name(requirement.name)
            assert name not in found, f"two versions of {name} on Python {version}"
            found[name] = next(iter(requirement.specifier)).version
    extras = REQUIREMENTS.read_text().partition("\n")[0].partition("requirements.py ")[2].split()
    assert extras == list(LOCK["EXTRAS"]) == ["litert", "serve"]
    for line in LOCK["needed"](extras):
        wanted = packaging.Requirement(line)
        version_found = found[utils.canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(version_found), f"{line} is {version_found}"


def test_only_what_is_copied_comes_near_the_image() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    first, *let_in = [line for line in lines if not line.startswith("#")]
    assert first == "*" and all(line.startswith("!") for line in let_in)
    patterns = [line[1:] for line in let_in]
    copied = [
        source
        for word, rest in instructions()
        if word in ("COPY", "ADD") and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert any(fnmatch(source, pattern) for pattern in patterns), source
    for pattern in patterns:
        assert any(fnmatch(source, pattern) for source in copied), pattern


def test_it_runs_as_the_user_that_is_in_it() -> None:
    user = deployment.tool("deploy/minimal_root.py")["USER_ID"]
    assert instruction("USER") == f"{user}:{user}"
    pod = deployment.manifest("kubernetes/deployment.yaml")["spec"]["template"]["spec"]
    context = pod["securityContext"]
    assert {context[key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {user}
    runtime = deployment.container("kserve/runtime.yaml")["securityContext"]
    assert runtime["runAsUser"] == user


def test_programs_are_started_without_a_shell_by_words_that_they_take() -> None:
    python = ["python", "-m", "edgeclf"]
    assert json.loads(instruction("ENTRYPOINT")) == python
    assert json.loads(instruction("CMD"))[0] == "serve"
    options, _, words = instruction("HEALTHCHECK").partition(" CMD ")
    check = json.loads(words)
    assert check[:4] == [*python, "serve"] and parsed(check[4:]).probe is not None
    # The check itself waits for 5 s, and Python has to start.
    assert int(re.findall(r"--timeout=(\d+)s", options)[0]) > 5


def test_it_writes_no_bytecode_and_keeps_few_arenas() -> None:
    settings = dict(pair.split("=", 1) for pair in instruction("ENV").split())
    assert settings["PYTHONDONTWRITEBYTECODE"] == "1" and settings["MALLOC_ARENA_MAX"] == "2"


def test_its_base_can_be_chosen_and_has_a_tag() -> None:
    stages = [rest for word, rest in instructions() if word == "FROM"]
    assert stages == ["${BASE} AS build", "scratch"]
    assert re.fullmatch(r"BASE=python:3\.\d+-slim", instruction("ARG"))
