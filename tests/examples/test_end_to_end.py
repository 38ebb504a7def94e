"""The whole project of examples/end_to_end, run by the commands of its own CI workflow."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeclf
from support import REPOSITORY
from support.deployment import KUBERNETES, documents
from support.example_scripts import EXAMPLES

FOLDER = EXAMPLES / "end_to_end"
PROJECT = FOLDER / "project.py"
WORKFLOW = FOLDER / "ci" / "model.yml"
NEEDS = ("tensorflow", "optuna", "mlflow", "litert_quantizer", "starlette", "httptools", "yaml")
STORY_S = 900  # on a machine with much else to do


def project(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(PROJECT), *map(str, words)], capture_output=True, text=True,
        check=False, timeout=STORY_S, env={**os.environ, **env},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def workflow() -> dict[str, Any]:
    (found,) = documents(WORKFLOW)
    assert isinstance(found, dict)
    return found


def steps() -> list[dict[str, Any]]:
    return list(workflow()["jobs"]["model"]["steps"])


class Story:
    """What the workflow's commands left and said, by the name of the step."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.said: dict[str, str] = {}
        self.summary = out.with_name("summary.md")

    def record(self, name: str) -> Any:
        return json.loads((self.out / name).read_text())

    def run(self, name: str, command: str) -> None:
        environment = {
            **os.environ, "PROJECT": str(PROJECT), "OUT": str(self.out), "SIZE": "--smoke",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command], cwd=REPOSITORY, env=environment,
            capture_output=True, text=True, check=False, timeout=STORY_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{name}: {done.stderr}"
        self.said[name] = done.stdout + done.stderr


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    for name in NEEDS:
        pytest.importorskip(name, reason="needs edgeclf[all,registry]")
    made = Story(tmp_path_factory.mktemp("story") / "out")
    for step in steps():
        if "run" in step and step.get("id") != "install":
            made.run(step["name"], step["run"])
            # Whatever is trained, chosen and converted: the test pictures stay closed.
            judged = made.out / "test_openings.json"
            assert judged.exists() == ("Validate the model" in made.said)
    return made


@pytest.mark.slow
def test_the_data_share_nothing(story: Story) -> None:
    data = story.record("data.json")
    assert data["labels"] == ["give-way", "limit-30", "turn-left", "turn-right"]
    assert data["leaks"] == {"pictures": 0, "things": 0, "near_copies": 0}
    counts = {split: (d["pictures"], d["things"]) for split, d in data["splits"].items()}
    assert counts == {"train": (144, 48), "val": (48, 16), "test": (48, 16)}
    with Image.open(story.out / "data.png") as overview:
        assert overview.size == (12 * 64, 4 * 64)


@pytest.mark.slow
def test_the_choice_is_made_on_validation_and_the_test_opened_once(story: Story) -> None:
    choice, facts = story.record("choice.json"), story.record("facts.json")
    models = choice["models"]
    assert models[choice["chosen"]]["top1"] == max(row["top1"] for row in models.values())
    assert facts["opened"] == 1 and facts["pictures"] == 48 and facts["things"] == 16
    (judged,) = story.record("test_openings.json").values()
    artifact = edgeclf.load_artifact(next((story.out / choice["chosen"]).glob("*.tflite")))
    assert judged == [artifact.sha256] == [facts["model"]["sha256"]]
    assert {"darkened", "noisy", "softened", "compressed", "clear"} <= facts["slices"].keys()
    assert artifact.metadata.certificate and artifact.metadata.trust
    assert (artifact.metadata.training or {})["settings"]["no_mirror"] is True


@pytest.mark.slow
def test_the_model_card_says_what_was_measured(story: Story) -> None:
    card, facts = (story.out / "model_card.md").read_text(), story.record("facts.json")
    assert facts["model"]["sha256"] in card and f"{facts['top1']:.1%}" in card
    assert "opened once" in card and "missed" not in card
    assert story.summary.read_text() == card  # what the workflow shows
    verdict = story.record("validation.json")
    assert verdict and all(limit["held"] for limit in verdict)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # MLflow's own are not ours to repair
def test_runs_are_tracked_and_versions_registered(story: Story) -> None:
    import mlflow

    uri = f"sqlite:///{story.out / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri, uri)
    training = client.get_experiment_by_name("edgeclf training")
    runs = client.search_runs([training.experiment_id])
    assert len(runs) == 2 and all("evaluation_top1" in run.data.metrics for run in runs)
    versions = story.record("versions.json")
    champion = client.get_model_version_by_alias("signs", "champion")
    assert str(champion.version) == versions["champion"]
    assert champion.tags["edgeclf.sha256"] == story.record("facts.json")["model"]["sha256"]
    assert not (REPOSITORY / "mlruns").exists()


@pytest.mark.slow
def test_the_image_holds_the_validated_file(story: Story) -> None:
    sha256, versions = story.record("facts.json")["model"]["sha256"], story.record("versions.json")
    package = story.out / "package"
    (file,) = package.rglob("*.tflite")
    assert file.parts[-4:] == ("models", "signs", versions["champion"], "signs.tflite")
    assert edgeclf.load_artifact(file).sha256 == sha256
    dockerfile = (package / "Dockerfile").read_text()
    assert f'edgeclf.model.sha256="{sha256}"' in dockerfile and "COPY models /models" in dockerfile
    said = story.said["Package"]
    assert "not built" in said and f"-t signs:{sha256[:12]}" in said
    assert "-f deploy/Dockerfile" in said


@pytest.mark.slow
def test_the_manifests_name_image_and_model(story: Story) -> None:
    sha256 = story.record("facts.json")["model"]["sha256"]
    folder = story.out / "deployment" / "kubernetes"
    yamls = [path.name for path in KUBERNETES if path.suffix == ".yaml"]
    assert sorted(path.name for path in folder.iterdir()) == yamls
    (deployment,) = documents(folder / "deployment.yaml")
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["image"] == f"signs:{sha256[:12]}"
    assert template["metadata"]["annotations"] == {"edgeclf/model-sha256": sha256}
    assert {each["name"] for each in template["spec"]["volumes"]} == {"keys", "tmp"}
    assert {each["name"] for each in container["volumeMounts"]} == {"keys", "tmp"}
    (was,) = documents(REPOSITORY / "deploy" / "kubernetes" / "deployment.yaml")
    assert container["args"] == was["spec"]["template"]["spec"]["containers"][0]["args"]


@pytest.mark.slow
def test_the_service_was_tried_and_rolled_back(story: Story) -> None:
    deployment = story.record("deployment/deployment.json")
    assert deployment["answers"] == {"pictures": 48, "different": 0, "max_change": 0.0}
    assert deployment["load"]["offered"] > 50
    rollback = deployment["rollback"]
    assert rollback["asked"] > 0 and rollback["failed"] == 0
    if story.record("versions.json")["before"] is not None:
        assert rollback["back_s"] > 0 and rollback["forward_s"] > 0
    for page in ("load.html", "monitoring.html"):
        assert "<html" in (story.out / "deployment" / page).read_text()


@pytest.mark.slow
def test_what_is_done_is_not_done_again(story: Story) -> None:
    before = (story.out / "facts.json").stat().st_mtime_ns
    again = project("validate", "--smoke", "--out", story.out)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("reused, its inputs have not changed") == 6
    assert (story.out / "facts.json").stat().st_mtime_ns == before
    assert story.record("facts.json")["opened"] == 1


@pytest.mark.slow
def test_a_limit_that_is_missed_ends_with_1_and_its_name(story: Story, tmp_path: Path) -> None:
    limits = tmp_path / "limits.yaml"
    limits.write_text("model:\n  top1: {at_least: 0.1}\n  slices.dusk.top1: {at_least: 1.01}\n"
                      "  slices.snow.top1: {at_least: 0.5}\n")  # fmt: skip
    done = project("validate", "--smoke", "--out", story.out, "--limits", limits)
    card = (story.out / "model_card.md").read_text()
    restored = project("validate", "--smoke", "--out", story.out)
    assert restored.returncode == 0 and "missed" not in (story.out / "model_card.md").read_text()
    assert done.returncode == 1 and "2 of 3 limits of the model are missed" in done.stderr
    assert "slices.dusk.top1 is " in done.stderr and "top1: " not in done.stderr
    assert "slices.snow.top1 is not measured; the limit is at least 0.5" in done.stderr
    assert card.count("**missed**") == 2
    # Nothing that comes after a missed limit is done.
    registered = project("register", "--smoke", "--out", story.out, "--limits", limits)
    assert registered.returncode == 1 and "== register" not in registered.stderr


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(story: Story) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = project("deploy", "--smoke", "--out", story.out, "--port", port)
    assert done.returncode == 2 and str(port) in done.stderr
    assert "The service did not start" in done.stderr
    assert story.record("versions.json")["champion"]  # and nothing was rolled back


@pytest.mark.slow
def test_an_image_that_cannot_be_built_here_says_what_would_build_it(story: Story) -> None:
    done = project("package", "--build", "--smoke", "--out", story.out, PATH="/nowhere")
    assert done.returncode == 2 and "none of docker, podman, buildah is here" in done.stderr
    assert "docker build -f deploy/Dockerfile" in done.stderr


def test_the_workflow_is_the_one_that_github_runs() -> None:
    pytest.importorskip("yaml", reason="needs PyYAML")
    placed = REPOSITORY / ".github" / "workflows" / "model.yml"
    if placed.parent.is_dir():  # not in the sdist
        assert placed.read_bytes() == WORKFLOW.read_bytes()
    uses = [step["uses"] for step in steps() if "uses" in step]
    assert uses and all(re.fullmatch(r"[\w/.-]+@[0-9a-f]{40}", each) for each in uses)
    names = [step.get("name") for step in steps()]
    assert names.index("Train, tune and convert") < names.index("Validate the model")
    assert workflow()["permissions"] == {"contents": "read"}
    size = workflow()["jobs"]["model"]["env"]["SIZE"]
    assert "pull_request' && '--smoke' || ''" in size
    (install,) = (step["run"] for step in steps() if step.get("id") == "install")
    assert "-r examples/end_to_end/requirements.txt" in install
    published = next(step["with"]["path"] for step in steps() if step.get("name") is None
                     and "upload-artifact" in step["uses"])  # fmt: skip
    assert "model_card.md" in published and "*.tflite" in published


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[Path]:
    """A user's own folder: frames of films, two classes."""
    folder, rng = tmp_path / "pets", np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for film in range(6):
            scene = rng.integers(0, 256, (12, 12, 3))
            for frame in range(2):
                noisy = np.clip(scene + rng.integers(-40, 40, scene.shape), 0, 255)
                image = Image.fromarray(noisy.astype(np.uint8)).resize((48, 48))
                image.save(folder / label / f"{film:05d}_{frame:05d}.png")
    yield folder


def prepared(folder: Path, out: Path, *words: object) -> dict[str, set[str]]:
    done = project("prepare", "--data", folder, "--out", out, *words)
    assert done.returncode == 0, done.stderr
    return {
        split: {Path(line.split(",")[0]).name + line.split(",")[1]
                for line in (out / folder.name / f"{split}.csv").read_text().splitlines()[1:]}
        for split in ("train", "val", "test")
    }  # fmt: skip


def test_frames_of_one_film_and_copies_stay_in_one_table(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("edgeclf.training", reason="needs edgeclf[train]")
    with Image.open(pictures / "cat" / "00000_00000.png") as image:
        image.save(pictures / "cat" / "nearly.jpg", quality=80)  # a copy that no hash tells
    tables = prepared(pictures, tmp_path / "out", "--groups", r"^\d{5}")
    assert sum(map(len, tables.values())) == 25
    for names in tables.values():
        films = {name[:5] + name[-3:] for name in names if name[0] == "0"}
        assert {n for n in names if n[0] == "0"} == {
            f"{film[:5]}_0000{frame}.png{film[5:]}" for film in films for frame in range(2)
        }
        if "nearly.jpgcat" in names:
            assert "00000_00000.pngcat" in names
    data = json.loads((tmp_path / "out" / "data.json").read_text())
    assert data["things"] == 12 and data["near_copies"] >= 1
    again = project("prepare", "--data", pictures, "--out", tmp_path / "out", "--groups", r"^\d{5}")
    assert "reused" in again.stderr


def test_pictures_that_are_set_aside_already_stay_so(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("edgeclf.training", reason="needs edgeclf[train]")
    for label in ("cat", "dog"):
        (pictures / "train").mkdir(exist_ok=True)
        (pictures / label).rename(pictures / "train" / label)
        (pictures / "eval" / label).mkdir(parents=True)
        for path in (pictures / "train" / label).glob("00005_*"):
            path.rename(pictures / "eval" / label / path.name)
    words = ("--groups", r"^\d{5}")
    tables = prepared(pictures, tmp_path / "out", *words)
    assert {name[:5] for name in tables["test"]} == {"00005"} and len(tables["test"]) == 4
    assert len(tables["val"]) == 4 and len(tables["train"]) == 16
    with Image.open(pictures / "eval" / "cat" / "00005_00001.png") as image:
        image.save(pictures / "train" / "cat" / "leak.jpg", quality=80)
    done = project("prepare", "--data", pictures, "--out", tmp_path / "out", *words)
    assert done.returncode == 2 and "1 pictures to learn from show what others" in done.stderr
    assert "leak.jpg, as " in done.stderr and "00005_0000" in done.stderr


def test_a_folder_that_cannot_be_used_is_one_sentence_and_code_2(
    pictures: Path, tmp_path: Path
) -> None:
    pytest.importorskip("edgeclf.training", reason="needs edgeclf[train]")

    def refused(folder: Path, *words: object) -> str:
        done = project("prepare", "--data", folder, "--out", tmp_path / "out", *words)
        assert done.returncode == 2 and done.stdout == ""
        return done.stderr.splitlines()[-1]

    (tmp_path / "none").mkdir()
    assert "holds 0 class folder(s); expected at least two" in refused(tmp_path / "none")
    assert "is not a folder" in refused(tmp_path / "nosuch")
    assert "--groups is no regular expression" in refused(pictures, "--groups", "(")
    (pictures / "dog" / "00000_00000.png").write_text("no picture")
    assert "cannot be read" in project(
        "prepare", "--data", pictures, "--out", tmp_path / "out"
    ).stderr  # fmt: skip
    for path in (pictures / "dog").iterdir():
        if path.name[:5] > "00001" or path.name == "00000_00000.png":
            path.unlink()
    words = ("--groups", r"^\d{5}")
    assert "'dog' has 2 different things" in refused(pictures, *words)
    shutil.copy(pictures / "cat" / "00003_00000.png", pictures / "dog" / "00003_00000.png")
    assert "have two labels" in project(
        "prepare", "--data", pictures, "--out", tmp_path / "out"
    ).stderr  # fmt: skip


def test_what_your_own_model_has_to_hold_is_yours_to_say(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="needs PyYAML")
    done = project("all", "--data", pictures, "--out", tmp_path / "out")
    assert done.returncode == 2 and done.stderr.startswith("project.py: --limits is missing")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [", "is no YAML"),
        ("service:\n  a: {at_most: 1}\n", "has no part 'model'"),
        ("model:\n  top1: {above: 1}\n", "top1 is {'above': 1}; expected figures"),
        ("model:\n  top1: {at_least: high}\n", "top1 is {'at_least': 'high'}"),
        ("model:\n  top1:\n", "top1 is None"),
    ],
)
def test_limits_that_say_nothing_are_refused(text: str, message: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="needs PyYAML")
    (tmp_path / "limits.yaml").write_text(text)
    (tmp_path / "facts.json").write_text('{"top1": 0.5}')
    words = ("--limits", tmp_path / "limits.yaml", "--facts", tmp_path / "facts.json")
    done = subprocess.run(
        [sys.executable, str(FOLDER / "gate.py"), *map(str, words)], capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_the_gate_alone_tells_by_its_exit_code(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="needs PyYAML")
    limits, facts = tmp_path / "limits.yaml", tmp_path / "facts.json"
    limits.write_text("model:\n  slices.far.top1: {at_least: 0.5, at_most: 0.9}\n")
    words = [sys.executable, str(FOLDER / "gate.py"), "--limits", limits, "--facts", facts]
    for value, code, said in ((0.5, 0, "all 2 limits hold"), (0.4999, 1, "at least 0.5"),
                              (0.95, 1, "at most 0.9")):  # fmt: skip
        facts.write_text(json.dumps({"slices": {"far": {"top1": value}}}))
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code and said in done.stdout + done.stderr
