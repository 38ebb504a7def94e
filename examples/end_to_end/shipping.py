"""The validated file becomes a version in the registry, an image, and manifests that name it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from learning import chosen
from plan import HERE, MODELS, Plan

import edgeclf
from edgeclf.registry.client import ClientSource
from edgeclf.registry.tags import SHA256
from edgeclf.system import files
from edgeclf.system.progress import log

ALIAS = "champion"
_ENGINES = ("docker", "podman", "buildah")
_ROOT = HERE.parent.parent


def slug(plan: Plan) -> str:
    """A name that a registry, an image and Kubernetes take."""
    return re.sub(r"[^a-z0-9.-]+", "-", plan.name.lower()).strip("-.") or "model"


def register(plan: Plan) -> dict[str, Any]:
    """Makes both models versions, and the chosen one champion if the gates of `promote` hold.

    What is registered already is not registered again. The baseline becomes champion where there
    is none, so that there is something to go back to.
    """
    name, client = slug(plan), ClientSource(plan.registry).client
    numbers = {model: _version(client, plan, name, model) for model in MODELS}
    before = _champion(client, name)
    if before is None:
        edgeclf.promote(name, numbers["baseline"], to=ALIAS, tracking_uri=plan.registry)
        before = numbers["baseline"]
    wanted = numbers[chosen(plan)]
    if before != wanted:
        done = edgeclf.promote(
            name, wanted, to=ALIAS, tracking_uri=plan.registry, data=plan.table("val"),
            tolerance=plan.size.tolerance,
        )  # fmt: skip
        log(done.text())
        known = {"before": before}
    else:
        log(f"  version {wanted} of {name} is champion already")
        known = _read(plan.versions)
    record = {"name": name, "versions": numbers, "champion": wanted, "before": known.get("before")}
    files.write_json(plan.versions, record)
    return record


def _version(client: Any, plan: Plan, name: str, model: str) -> str:
    artifact = edgeclf.load_artifact(plan.artifact(model))
    for known in client.search_model_versions(f"name='{name}'"):
        if known.tags.get(SHA256) == artifact.sha256:
            return str(known.version)
    made = edgeclf.register(plan.artifact(model), name, tracking_uri=plan.registry)
    log(f"  {name} {made.version} is the {model} model")
    return made.version


def _champion(client: Any, name: str) -> str | None:
    found = client.get_registered_model(name).aliases.get(ALIAS)
    return None if found is None else str(found)


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def image_of(plan: Plan, repository: str | None) -> str:
    """The image's name: its tag is the model's hash, so that another model is another image."""
    sha256 = edgeclf.load_artifact(plan.artifact(chosen(plan))).sha256
    return f"{repository or slug(plan)}:{sha256[:12]}"


def package(plan: Plan, repository: str | None, *, build: bool) -> Path:
    """The folder that an image is built from, and the commands that build it.

    Raises:
        OptionError: It was to be built, and there is nothing here to build with, or it failed.
    """
    versions, image = _read(plan.versions), image_of(plan, repository)
    artifact = edgeclf.load_artifact(plan.artifact(chosen(plan)))
    folder = plan.out / "package"
    shutil.rmtree(folder, ignore_errors=True)
    name = slug(plan)
    target = folder / "models" / name / versions["champion"] / f"{name}.{artifact.format}"
    target.parent.mkdir(parents=True)
    shutil.copyfile(plan.artifact(chosen(plan)), target)
    base = f"edgeclf:{version('edgeclf')}"
    files.write_text(folder / "Dockerfile", f"""\
# {name}, version {versions["champion"]}: the service's image, and the model in it.
ARG BASE={base}
# The base's tag is the version of edgeclf; pin it by its digest where you push it.
# hadolint ignore=DL3006
FROM ${{BASE}}
LABEL org.opencontainers.image.title="{name}" \\
      org.opencontainers.image.version="{versions["champion"]}" \\
      edgeclf.model.sha256="{artifact.sha256}"
COPY models /models
""")  # fmt: skip
    files.write_text(folder / ".dockerignore", "*\n!models/\n")
    engine = next((each for each in _ENGINES if shutil.which(each)), None)
    commands = build_commands(engine or _ENGINES[0], base, image, folder)
    if build:
        _build(engine, commands)
    else:
        log("  not built; 'package --build', or these commands, do it:")
        for command in commands:
            log(f"    {shlex.join(command)}")
    return folder


def build_commands(engine: str, base: str, image: str, folder: Path) -> list[list[str]]:
    """From the checkout: its wheels, the service's image, and the model's on top."""
    build = [engine, "build"]
    return [
        [sys.executable, "tools/build_dist.py", "dist"],
        [*build, "-f", "deploy/Dockerfile", "-t", base, "."],
        [*build, "--build-arg", f"BASE={base}", "-t", image, str(folder.resolve())],
    ]


def _build(engine: str | None, commands: list[list[str]]) -> None:
    shown = "".join(f"\n  {shlex.join(command)}" for command in commands)
    if engine is None:
        raise edgeclf.OptionError(
            f"An image was to be built, and none of {', '.join(_ENGINES)} is here. Where one is, "
            f"these commands build it, in the checkout's folder:{shown}"
        )
    if not (_ROOT / "deploy" / "Dockerfile").is_file():
        raise edgeclf.OptionError(
            f"There is no deploy/Dockerfile in {_ROOT}; run the example in a checkout of edgeclf."
        )
    for command in commands:
        log(f"  {shlex.join(command)}")
        done = subprocess.run(command, cwd=_ROOT, check=False)
        if done.returncode:
            raise edgeclf.OptionError(
                f"'{shlex.join(command)}' ended with {done.returncode}; what it said is above."
            )


def manifests(plan: Plan, repository: str | None) -> list[Path]:
    """deploy/kubernetes with this image and this model's hash, in ``deployment/kubernetes``.

    The model is in the image, so the claim of a volume with models goes.

    Raises:
        OptionError: deploy/ is not here, or Kubernetes' schemas refuse what came out.
    """
    source = _ROOT / "deploy" / "kubernetes"
    found = sorted(source.glob("*.yaml"))
    if not found:
        raise edgeclf.OptionError(
            f"There are no manifests in {source}; run the example in a checkout of edgeclf."
        )
    sha256 = edgeclf.load_artifact(plan.artifact(chosen(plan))).sha256
    written = []
    for path in found:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        for document in documents:
            if document["kind"] == "Deployment":
                _fill_in(document, image_of(plan, repository), sha256)
        target = plan.out / "deployment" / "kubernetes" / path.name
        files.write_text(target, yaml.safe_dump_all(documents, sort_keys=False))
        written.append(target)
    _validate(written)
    return written


def _fill_in(deployment: dict[str, Any], image: str, sha256: str) -> None:
    template = deployment["spec"]["template"]
    # In the template, so that another model is a rollout, which 'kubectl rollout undo' takes back.
    template["metadata"].setdefault("annotations", {})["edgeclf/model-sha256"] = sha256
    spec = template["spec"]
    spec["volumes"] = [each for each in spec["volumes"] if each["name"] != "models"]
    (container,) = spec["containers"]
    container["image"] = image
    mounts = container["volumeMounts"]
    container["volumeMounts"] = [each for each in mounts if each["name"] != "models"]


def _validate(paths: list[Path]) -> None:
    try:
        import kubernetes_validate as checker
    except ModuleNotFoundError:
        log("  manifests not checked: pip install kubernetes-validate checks them")
        return
    for path in paths:
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            try:
                checker.validate(document, checker.latest_version(), strict=True)
            except checker.ValidationError as exc:
                raise edgeclf.OptionError(f"Kubernetes refuses {path}: {exc.message}") from exc
    log(f"  manifests: Kubernetes {checker.latest_version()} knows every field")
