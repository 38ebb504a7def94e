"""The device examples, run as their readers run them: as scripts, on stand-in input."""

from __future__ import annotations

import configparser
import csv
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeclf

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SCRIPTS = {
    "classify_photo": "classify_photo.py",
    "camera": "camera.py",
    "watch_folder": "watch_folder.py",
    "raspberry_pi": "budget.py",
    "jetson": "jetson.py",
}
UNIT = EXAMPLES / "raspberry_pi" / "edgeclf-watch.service"
COLUMNS = ["time", "file", "size_bytes", "mtime_ns", "label", "probability", "error"]

NO_CV2 = "raise ImportError('not installed here')"
# A camera that gives one frame for ever, and a window whose user presses s, then q. What happens
# to them is written to the file $CV2_LOG.
FAKE_CV2 = """
import os, time
import numpy as np
CAP_V4L2, CAP_ANY, CAP_PROP_FPS, WINDOW_GUI_NORMAL, WND_PROP_VISIBLE = 200, 0, 5, 16, 4
keys = [-1, ord("s"), -1, ord("q")]
class error(Exception): pass
def log(line):
    with open(os.environ["CV2_LOG"], "a") as file:
        print(line, file=file)
class VideoCapture:
    def __init__(self, source, api): log(f"open {source!r} {api}")
    def isOpened(self): return True
    def get(self, prop): return 0.0
    def read(self):
        time.sleep(0.02)
        frame = np.zeros((120, 160, 3), np.uint8)
        frame[:] = (250, 20, 5)  # blue, green, red
        return ("BROKEN" not in os.environ), frame
    def release(self): log("release")
def namedWindow(title, flags):
    if "NO_WINDOW" in os.environ: raise error("not implemented")
def imshow(title, frame): log(f"show {frame.shape} {frame[-1, -1].tolist()}")
def waitKey(delay): return keys.pop(0)
def getWindowProperty(title, prop): return 1.0
"""


def command(name: str, *words: object) -> list[str]:
    script = EXAMPLES / name / SCRIPTS[name]
    return [sys.executable, "-W", "error", str(script), *map(str, words)]


def start(
    name: str, *words: object, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(name, *words), capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


@contextmanager
def running(
    name: str, *words: object, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    # A shell lets what it starts in the background ignore Ctrl-C, and children inherit that.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        command(name, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **(env or {})},
    ) as process:  # fmt: skip
        signal.signal(signal.SIGINT, ours)
        try:
            yield process
        finally:
            process.kill()


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What the script itself says on stderr, without the remarks of LiteRT and OpenCV."""
    return [line for line in done.stderr.splitlines() if line.startswith(tuple(SCRIPTS.values()))]


@pytest.fixture
def fake_cv2(tmp_path: Path) -> dict[str, str]:
    """An environment in which `import cv2` finds a camera and a window."""
    return fake_module(tmp_path / "fake", FAKE_CV2) | {
        "CV2_LOG": str(tmp_path / "cv2.log"),
        "DISPLAY": ":0",
    }


def fake_module(folder: Path, source: str) -> dict[str, str]:
    folder.mkdir()
    (folder / "cv2.py").write_text(source)
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    return run / "mugs.int8.tflite"


@pytest.fixture(scope="module")
def classifier(model: Path) -> Iterator[edgeclf.Classifier]:
    with edgeclf.Classifier(model) as classifier:
        yield classifier


@pytest.fixture(scope="module")
def photos(mugs: Path) -> list[Path]:
    """Photos of every class, in the order of their names."""
    return sorted(p for p in (mugs / "eval").rglob("*.jpg") if p.stem in ("000", "001"))


@pytest.fixture
def inbox(tmp_path: Path, photos: list[Path]) -> Path:
    """A flat folder of photos named by what they show."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    for photo in photos:
        shutil.copy(photo, folder / f"{photo.parent.name}-{photo.name}")
    return folder


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_is_a_readme_its_requirements_and_one_script(name: str) -> None:
    files = {path.name for path in (EXAMPLES / name).iterdir() if path.is_file()}
    assert files - {UNIT.name} == {"README.md", "requirements.txt", SCRIPTS[name]}
    done = start(name, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: {SCRIPTS[name]}")
    assert done.stderr == ""


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_file_that_is_no_model_is_one_line_and_code_2(
    name: str, tmp_path: Path, photos: list[Path]
) -> None:
    (tmp_path / "bad.onnx").write_text("no model")
    words: dict[str, list[object]] = {
        "camera": ["--headless", "--source", photos[0].parent],
        "watch_folder": [photos[0].parent, "--results", tmp_path / "results.csv"],
        "raspberry_pi": [],
        "jetson": [photos[0], "--device", "cpu"],
        "classify_photo": [photos[0]],
    }
    done = start(name, tmp_path / "bad.onnx", *words[name])
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "bad.onnx" in done.stderr


# classify_photo


def test_photos_get_a_table_each_and_a_bad_one_does_not_stop_them(
    model: Path, classifier: edgeclf.Classifier, photos: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no photo")
    done = start("classify_photo", model, photos[0], bad, *photos[1:])
    assert done.returncode == 2
    assert len(complaints(done)) == 1 and "bad.jpg as an image" in done.stderr
    lines = iter(done.stdout.splitlines())
    for photo in photos:
        expected = classifier.classify(photo)
        assert next(lines) == str(photo)
        assert next(lines).split() == ["CLASSES", "PROBABILITIES"]
        for score in expected.top(3):
            assert next(lines).split() == [score.label, f"{score.probability:.1%}"]
        stages = re.findall(r"(\w+) ([\d.]+) ms", next(lines))
        times_ms = {stage: float(value) for stage, value in stages}
        assert list(times_ms) == ["decode", "preprocess", "inference", "total"]
        total_ms = times_ms.pop("total")
        assert total_ms == pytest.approx(sum(times_ms.values()), abs=0.03) and total_ms > 0
    assert next(lines, None) is None
    assert start("classify_photo", model, photos[0], "--top", 1).returncode == 0


# camera

LINE = re.compile(r"frame (\d+): (.+); ([\d.]+) answers/s, (\d+) dropped")


def answers(done: subprocess.CompletedProcess[str]) -> dict[int, str]:
    """Frame to words, once the counts of a headless run have been found consistent."""
    *lines, summary = done.stdout.splitlines()
    found = {}
    for number, line in enumerate(lines):
        match = LINE.fullmatch(line)
        assert match is not None, line
        index, words, _, dropped = match.groups()
        assert int(dropped) == int(index) - number
        found[int(index)] = words
    assert summary == f"{len(lines)} answers, {dropped} frames dropped"
    return found


def words(prediction: edgeclf.Prediction, k: int) -> str:
    return ", ".join(f"{score.label} {score.probability:.1%}" for score in prediction.top(k))


def test_a_folder_stands_in_for_a_camera_and_needs_no_opencv(
    model: Path, classifier: edgeclf.Classifier, mugs: Path, tmp_path: Path
) -> None:
    env = fake_module(tmp_path / "fake", NO_CV2)
    folder = mugs / "eval"
    files = sorted(folder.rglob("*.jpg"))
    done = start(
        "camera", model, "--source", folder, "--headless", "--fps", 40, "--top", 2, env=env
    )
    found = answers(done)
    assert done.returncode == 0 and max(found) == len(files) - 1  # the last one is never dropped
    for index, text in found.items():
        assert text == words(classifier.classify(files[index]), 2)

    for missing in (["--source", "0", "--headless"], ["--source", folder]):
        done = start("camera", model, *missing, env=env | {"DISPLAY": ":0"})
        assert done.returncode == 2 and "pip install opencv-python" in complaints(done)[0]


def test_frames_that_come_while_one_is_classified_are_dropped_and_counted(
    model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    Image.new("RGB", (4000, 3000), (200, 30, 30)).save(tmp_path / "large.png")
    for index in range(24):  # 24 frames in 0.1 s, of which one takes about as long to decode
        (folder / f"{index:02}.png").symlink_to(tmp_path / "large.png")
    done = start("camera", model, "--source", folder, "--headless", "--fps", 240)
    found = answers(done)
    assert done.returncode == 0 and max(found) == 23
    assert 0 < len(found) < 24


def test_a_run_can_be_bounded_even_if_the_next_frame_is_far_away(model: Path, mugs: Path) -> None:
    done = start("camera", model, "--source", mugs / "eval", "--headless", "--fps", 0.25,
                 "--frames", 1)  # fmt: skip
    assert done.returncode == 0 and list(answers(done)) == [0]


def test_the_crop_saved_is_what_the_model_saw(
    model: Path, classifier: edgeclf.Classifier, photos: list[Path], inbox: Path, tmp_path: Path
) -> None:
    (inbox / "zz-bad.jpg").write_text("no photo")
    done = start("camera", model, "--source", inbox, "--headless", "--fps", 20, "--save-crop",
                 tmp_path / "crops")  # fmt: skip
    assert done.returncode == 0 and f"frame {len(photos)}: Cannot read" in done.stderr
    files = sorted(inbox.glob("*.jpg"))
    crops = sorted((tmp_path / "crops").iterdir())
    assert len(crops) == len(done.stdout.splitlines()) - 1 > 0
    for crop in crops:
        index, label = re.fullmatch(r"\d{8}-\d{6}-(\d{6})-(\w+)\.png", crop.name).groups()
        source = files[int(index)]
        saved = np.asarray(Image.open(crop))
        spec = classifier.artifact.metadata.image
        np.testing.assert_array_equal(saved, edgeclf.load_image(source, spec))
        replayed, seen = classifier.classify(crop), classifier.classify(source)
        assert replayed.probabilities == seen.probabilities and replayed.label == label


def test_a_video_is_classified_frame_by_frame_in_rgb(
    model: Path, classifier: edgeclf.Classifier, photos: list[Path], tmp_path: Path
) -> None:
    cv2: Any = pytest.importorskip("cv2")
    video = tmp_path / "mugs.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (160, 120))
    for photo in photos:
        writer.write(np.asarray(Image.open(photo).resize((160, 120)))[:, :, ::-1].copy())
    writer.release()
    capture = cv2.VideoCapture(str(video))
    frames = [capture.read()[1][:, :, ::-1] for _ in photos]
    capture.release()

    crops = tmp_path / "crops"
    done = start("camera", model, "--source", video, "--headless", "--save-crop", crops)
    found = answers(done)
    assert done.returncode == 0 and max(found) == len(photos) - 1
    for index, text in found.items():
        assert text == words(classifier.classify(frames[index]), 1)
        (crop,) = crops.glob(f"*-{index:06d}-*.png")
        expected = edgeclf.load_image(frames[index], classifier.artifact.metadata.image)
        np.testing.assert_array_equal(np.asarray(Image.open(crop)), expected)

    done = start("camera", model, "--source", tmp_path / "none.avi", "--headless")
    assert done.returncode == 2 and "none.avi" in complaints(done)[0]


def test_ctrl_c_releases_the_camera(model: Path, fake_cv2: dict[str, str], tmp_path: Path) -> None:
    crops = tmp_path / "crops"
    with running("camera", model, "--headless", "--save-crop", crops, env=fake_cv2) as process:
        assert process.stdout is not None
        for _ in range(2):  # by the second line, the first crop is saved
            assert LINE.fullmatch(process.stdout.readline().strip())
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0 and "Traceback" not in stderr
    assert re.fullmatch(r"\d+ answers, \d+ frames dropped", stdout.splitlines()[-1])
    api = 200 if sys.platform == "linux" else 0
    assert Path(fake_cv2["CV2_LOG"]).read_text().splitlines() == [f"open 0 {api}", "release"]
    pixels = np.asarray(Image.open(min(crops.iterdir())))
    assert (pixels == (5, 20, 250)).all()  # the frame's BGR as RGB


def test_the_window_shows_frames_saves_on_s_and_ends_on_q(
    model: Path, fake_cv2: dict[str, str], tmp_path: Path
) -> None:
    done = start("camera", model, "--save-crop", tmp_path / "crops", env=fake_cv2)
    assert done.returncode == 0
    saved, summary = done.stdout.splitlines()
    (crop,) = (tmp_path / "crops").iterdir()
    assert saved == f"saved {crop}" and summary.startswith("4 answers, ")
    log = Path(fake_cv2["CV2_LOG"]).read_text().splitlines()
    assert log[1:] == ["show (120, 160, 3) [250, 20, 5]"] * 4 + ["release"]


@pytest.mark.parametrize(
    ("env", "words", "message"),
    [
        ({"NO_WINDOW": "1"}, [], "has no window; add --headless"),
        ({"DISPLAY": None}, [], "There is no display"),
        ({"BROKEN": "1"}, ["--headless"], "0 gave no more pictures after 0 frames"),
    ],
)
def test_what_is_missing_for_a_camera_is_said_in_a_line(
    model: Path,
    fake_cv2: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str | None],
    words: list[str],
    message: str,
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    given = {name: value for name, value in {**fake_cv2, **env}.items() if value is not None}
    done = start("camera", model, *words, env=given)
    assert done.returncode == 2
    assert len(complaints(done)) == 1 and message in complaints(done)[0]


# watch_folder


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        found = list(reader)
    assert reader.fieldnames == COLUMNS
    return found


def once(model: Path, folder: Path, results: Path, *more: object) -> list[dict[str, str]]:
    done = start("watch_folder", model, folder, "--results", results, "--once",
                 "--interval", 0.05, *more)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return rows(results)


def test_a_photo_is_classified_once_across_restarts(
    model: Path, classifier: edgeclf.Classifier, inbox: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.csv"
    (inbox / "bad.jpg").write_text("no photo")
    (inbox / "notes.txt").write_text("not looked at")
    (inbox / ".hidden.jpg").write_text("an upload's temporary name")
    found = once(model, inbox, results)
    expected = {path.name: path for path in inbox.glob("[!.]*.jpg")}
    assert sorted(row["file"] for row in found) == sorted(expected)
    for row in found:
        path = expected[row["file"]]
        status = path.stat()
        assert int(row["size_bytes"]) == status.st_size
        assert int(row["mtime_ns"]) == status.st_mtime_ns
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row["time"])
        if path.name == "bad.jpg":
            assert "bad.jpg as an image" in row["error"]
            assert row["label"] == row["probability"] == ""
        else:
            prediction = classifier.classify(path)
            assert row["label"] == prediction.label and row["error"] == ""
            assert row["probability"] == f"{prediction.probability:.4f}"

    assert once(model, inbox, results) == found
    shutil.copy(next(inbox.glob("blue-*.jpg")), inbox / "bad.jpg")  # the same name, another photo
    again = once(model, inbox, results)
    assert again[:-1] == found
    assert again[-1]["file"] == "bad.jpg" and again[-1]["label"] != ""


def test_a_row_that_was_cut_off_is_written_again(model: Path, inbox: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.csv"
    found = once(model, inbox, results)
    content = results.read_bytes()
    results.write_bytes(content[:-9])  # as a power failure may leave it
    again = once(model, inbox, results)
    assert [row | {"time": ""} for row in again] == [row | {"time": ""} for row in found]

    for foreign in ("name,price\npen,1\n", content.decode().replace("mtime_ns", "age")):
        results.write_text(foreign)
        done = start("watch_folder", model, inbox, "--results", results, "--once")
        assert done.returncode == 2 and "results.csv" in complaints(done)[0]
        assert results.read_text() == foreign
    results.write_text(content.decode() + "edited,by,hand,today,,,\n")
    done = start("watch_folder", model, inbox, "--results", results, "--once")
    assert done.returncode == 2 and f"line {len(found) + 2}" in complaints(done)[0]


def test_photos_move_to_their_class_and_over_nothing(
    model: Path, classifier: edgeclf.Classifier, inbox: Path, tmp_path: Path
) -> None:
    contents = {path.name: path.read_bytes() for path in inbox.iterdir()}
    labels = {path.name: classifier.classify(path).label for path in inbox.iterdir()}
    first = min(contents)
    taken = tmp_path / "sorted" / labels[first] / first
    taken.parent.mkdir(parents=True)
    taken.write_text("was here before")
    (inbox / "bad.jpg").write_text("no photo")
    results = tmp_path / "results.csv"
    once(model, inbox, results)  # classified, not moved: done by the next run
    found = once(model, inbox, results, "--move-to", tmp_path / "sorted")
    assert len(found) == len(contents) + 1
    assert [path.name for path in inbox.iterdir()] == ["bad.jpg"]
    assert taken.read_text() == "was here before"
    for name, content in contents.items():
        moved = f"{Path(name).stem}-1.jpg" if name == first else name
        assert (tmp_path / "sorted" / labels[name] / moved).read_bytes() == content


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("white mug", "white mug"),
        ("cup/mug", "cup_mug"),
        ("..", "_"),
        ("../../etc", "_.._etc"),
        ("", "_"),
        (".hidden", "hidden"),
        ("a\0b\nc:d", "a_b_c_d"),
        ("杯子", "杯子"),
        ("x" * 300, "x" * 60),
    ],
)
def test_a_label_becomes_the_name_of_one_folder(label: str, expected: str) -> None:
    script = runpy.run_path(str(EXAMPLES / "watch_folder" / "watch_folder.py"))
    assert script["folder_name"](label) == expected


def test_a_file_that_still_grows_is_left_alone(model: Path, photo: Path, tmp_path: Path) -> None:
    inbox, results = tmp_path / "inbox", tmp_path / "results.csv"
    inbox.mkdir()
    content = photo.read_bytes()
    upload = open(inbox / "upload.jpg", "wb")  # noqa: SIM115 - closed below
    done = threading.Event()

    def grow() -> None:  # too slowly to be finished while the script looks
        sent = 0
        while not done.wait(0.05):
            upload.write(content[sent : sent + 8])
            upload.flush()
            sent += 8
        upload.write(content[sent:])
        upload.close()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        assert once(model, inbox, results, "--interval", 1.5) == []
    finally:
        done.set()
        thread.join()
    (row,) = once(model, inbox, results)
    assert row["file"] == "upload.jpg" and row["label"] != "" and row["error"] == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_watch_with_every_answer_written(
    model: Path, inbox: Path, photo: Path, tmp_path: Path, number: signal.Signals
) -> None:
    results = tmp_path / "results.csv"
    before = len(list(inbox.iterdir()))
    with running("watch_folder", model, inbox, "--results", results, "--interval", 0.1) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(before)]
        shutil.copy(photo, inbox / "late.jpg")  # arrives while it runs
        lines.append(process.stdout.readline())
        asked = time.monotonic()
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0 and stdout == "" and "Traceback" not in stderr
    assert time.monotonic() - asked < 10
    assert lines[-1].startswith("late.jpg: ")
    found = rows(results)
    assert [f"{r['file']}: {r['label']}, {r['probability']}\n" for r in found] == lines
    assert len(once(model, inbox, results)) == before + 1


def test_a_file_name_may_be_any_bytes(model: Path, photo: Path, tmp_path: Path) -> None:
    inbox, results = tmp_path / "inbox", tmp_path / "results.csv"
    inbox.mkdir()
    names = [b"caf\xe9.jpg", "tasse à café, bleue.jpg".encode(), b'two\nlines "quoted".jpg']
    for name in names:
        try:
            shutil.copy(photo, os.path.join(os.fsencode(inbox), name))  # noqa: PTH118 - bytes
        except OSError:
            pytest.skip("this file system takes no such names")
    for _ in range(2):
        done = subprocess.run(
            command("watch_folder", model, inbox, "--results", results, "--once",
                    "--interval", 0.05),
            capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    with open(results, newline="", encoding="utf-8", errors="surrogateescape") as file:
        found = [os.fsencode(row["file"]) for row in csv.DictReader(file)]
    assert sorted(found) == sorted(names)


# raspberry_pi


def test_the_memory_budget_is_measured_by_phase(model: Path) -> None:
    done = start("raspberry_pi", model, "--memory-mb", 1000)
    assert done.returncode == 0
    *lines, verdict = done.stdout.splitlines()
    figures = [line.removesuffix(" MB").rsplit(maxsplit=1) for line in lines]
    phases = {name: float(value) for name, value in figures}
    assert list(phases) == ["baseline", "imported", "loaded", "first answer", "200 answers"]
    assert 1 < phases["baseline"] < min(phases["imported"], phases["200 answers"])
    assert verdict == "within the budget of 1000 MB"
    done = start("raspberry_pi", model, "--memory-mb", 1)
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == "over the budget of 1 MB"


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(UNIT)
    return parser


def test_the_service_is_hardened_and_bounded() -> None:
    service = dict(unit()["Service"])
    expected = {
        "User": "edgeclf",
        "Restart": "on-failure",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ReadWritePaths": "/srv/edgeclf",
        "PrivateNetwork": "yes",
    }
    assert expected.items() <= service.items()
    assert re.fullmatch(r"\d+M", service["LimitDATA"])
    assert re.fullmatch(r"\d+M", service["MemoryMax"])
    assert re.fullmatch(r"\d+%", service["CPUQuota"])
    assert unit()["Install"]["WantedBy"] == "multi-user.target"


def test_the_services_command_runs(model: Path, inbox: Path, tmp_path: Path) -> None:
    home = tmp_path / "srv"
    home.mkdir()
    inbox.rename(home / "inbox")
    here = {
        "/opt/edgeclf/bin/python": sys.executable,
        "/opt/edgeclf/watch_folder.py": str(EXAMPLES / "watch_folder" / "watch_folder.py"),
        "/opt/edgeclf/model.int8.tflite": str(model),
    }
    words = [
        here.get(word, word.replace("/srv/edgeclf", str(home)))
        for word in shlex.split(unit()["Service"]["ExecStart"])
    ]
    Image.new("1", (6000, 6000)).save(home / "inbox" / "huge.png")  # 144 MB as RGB
    under_its_limit = (
        "import os, resource, sys; limit = int(sys.argv[1]) << 20; "
        "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)); "
        "os.execv(sys.argv[2], sys.argv[2:])"
    )
    limit_mb = unit()["Service"]["LimitDATA"].removesuffix("M")
    subprocess.run(
        [sys.executable, "-c", under_its_limit, limit_mb, *words, "--once", "--interval", "0.05"],
        check=True, capture_output=True,
    )  # fmt: skip
    *found, huge = sorted(rows(home / "results.csv"), key=lambda row: row["file"] == "huge.png")
    assert "huge.png as an image" in huge["error"] and huge["label"] == ""
    assert len(found) == len(list((home / "sorted").glob("*/*.jpg"))) > 0
    assert [path.name for path in (home / "inbox").iterdir()] == ["huge.png"]


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/edgeclf/bin/python", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    remarks = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert done.returncode == 0 and remarks == []


# jetson


def test_on_the_cpu_it_tells_the_first_call_from_the_later_ones(
    run: Path, photos: list[Path]
) -> None:
    pytest.importorskip("onnxruntime")
    model = run / "mugs.fp32.onnx"
    done = start("jetson", model, *photos[:2], "--device", "cpu", "--calls", 20)
    assert done.returncode == 0 and done.stderr == ""
    runtime, provider, *answers, load, first, later = done.stdout.splitlines()
    assert runtime.startswith("runtime   onnxruntime (onnxruntime ")
    assert runtime.endswith("the usual runtime of .onnx files")
    assert provider == "provider  CPUExecutionProvider on cpu"
    with edgeclf.Classifier(model) as classifier:
        for photo, line in zip(photos[:2], answers, strict=True):
            assert line == f"{photo}: {words(classifier.classify(photo), 1)}"
    assert re.fullmatch(r"load +[\d.]+ ms", load)
    assert re.fullmatch(r"first +[\d.]+ ms inference", first)
    assert re.fullmatch(r"later +[\d.]+ ms inference, median of 20", later)


def test_cuda_is_what_runs_or_an_error(run: Path, photos: list[Path]) -> None:
    pytest.importorskip("onnxruntime")
    from edgeclf.runtimes.onnxruntime import OnnxRuntime

    if "CUDAExecutionProvider" in OnnxRuntime.import_engine().get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    done = start("jetson", run / "mugs.fp32.onnx", photos[0])
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("jetson.py: The installed onnxruntime has no CUDAExecutionProvider")
