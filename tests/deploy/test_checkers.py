"""What the field's own checkers say of deploy/; `make check-deploy` installs them."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from support.deployment import DEPLOY, KSERVE, KUBERNETES, documents, manifest

SCHEMAS = json.loads((Path(__file__).parent / "kserve_schemas.json").read_text())


def check(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Runs a checker that is installed beside this Python."""
    program = shutil.which(name, path=sysconfig.get_path("scripts"))
    if program is None:
        pytest.skip(f"needs {name}, which is not installed here: make check-deploy")
    return subprocess.run(
        [program, *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )


def kubernetes_says(document: dict[str, Any]) -> str | None:
    """What is wrong with an object by Kubernetes' own schemas, which know every field."""
    import kubernetes_validate as checker

    try:
        checker.validate(document, checker.latest_version(), strict=True)
    except checker.ValidationError as exc:
        return str(exc.message)
    return None


def kserve_says(document: dict[str, Any]) -> str | None:
    """What is wrong with an object of KServe by the fields that we use of it."""
    import jsonschema

    try:
        jsonschema.validate(document, SCHEMAS[document["kind"]])
    except jsonschema.ValidationError as exc:
        return str(exc.message)
    return None


def pod_of(runtime: dict[str, Any]) -> dict[str, Any]:
    """A ServingRuntime's containers and volumes, which are a pod's, as one."""
    spec = {key: runtime["spec"][key] for key in ("containers", "volumes")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}


def test_hadolint_has_nothing_to_say(tmp_path: Path) -> None:
    done = check("hadolint", "--no-color", DEPLOY / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    worse = tmp_path / "Dockerfile"
    worse.write_text((DEPLOY / "Dockerfile").read_text() + "CMD edgeclf serve\n")
    assert "DL3025" in check("hadolint", "--no-color", worse).stdout


def test_compose_is_what_its_specification_allows(tmp_path: Path) -> None:
    words = ("--builtin-schema", "vendor.compose-spec")
    done = check("check-jsonschema", *words, DEPLOY / "compose.yaml")
    assert done.returncode == 0, done.stdout
    worse = tmp_path / "compose.yaml"
    worse.write_text((DEPLOY / "compose.yaml").read_text().replace("mem_limit", "mem_limits"))
    done = check("check-jsonschema", *words, worse)
    assert done.returncode == 1 and "mem_limits" in done.stdout


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_kubernetes_knows_every_field(path: Path) -> None:
    for document in documents(path):
        assert kubernetes_says(document) is None
        assert "misspelt" in str(kubernetes_says({**document, "misspelt": 1}))


@pytest.mark.parametrize("path", KSERVE, ids=lambda path: path.name)
def test_kserve_knows_every_field(path: Path) -> None:
    for document in documents(path):
        assert kserve_says(document) is None
        worse = copy.deepcopy(document)
        worse["spec"]["misspelt"] = 1
        assert "misspelt" in str(kserve_says(worse))


def test_the_container_of_the_runtime_is_kubernetes_own() -> None:
    pod = pod_of(manifest("kserve/runtime.yaml"))
    assert kubernetes_says(pod) is None
    pod["spec"]["containers"][0]["readynessProbe"] = {}
    assert "readynessProbe" in str(kubernetes_says(pod))
