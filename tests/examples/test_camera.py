"""examples/camera, on folders, a video and a made-up camera."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeclf
from support.example_scripts import complaints, running, start, words

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
LINE = re.compile(r"frame (\d+): (.+); ([\d.]+) answers/s, (\d+) dropped")


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
