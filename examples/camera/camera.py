"""Classifies what a camera sees; a video file or a folder of photos can stand in for it.

Of a camera's frames the newest is answered and older ones are dropped, so the answers never lag
behind. Keys in the window: s saves what the model saw, q ends.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

import edgeclf
from edgeclf.datasets.photos import find_unlabelled
from edgeclf.system.progress import print_every_letter

FOLDER_FPS = 5.0
VIDEO_FPS = 25.0  # for a video that does not say
RATE_OVER = 30  # answers that the rate is averaged over
TITLE = "edgeclf"


def import_cv2() -> Any:
    """OpenCV, which cameras, video files and the window need; headless folders do without."""
    try:
        import cv2
    except ImportError:
        raise edgeclf.OptionError(
            "Cameras, videos and the window need OpenCV: pip install opencv-python (or "
            "opencv-python-headless, which has no window, with --headless)."
        ) from None
    return cv2


def ticks(fps: float) -> Iterator[None]:
    """Waits for the moment of the next frame, as a camera of that rate would."""
    due = time.monotonic()
    while True:
        time.sleep(max(0.0, due - time.monotonic()))
        yield
        due += 1 / fps


def read_folder(folder: Path, fps: float) -> Generator[Path, None, None]:
    """The photos of a folder and of those in it, in the order of their names."""
    for photo, _ in zip(find_unlabelled(folder).paths, ticks(fps), strict=False):
        yield photo  # a frame is anything that Classifier.classify takes


def read_opencv(source: str, fps: float | None) -> Generator[Any, None, None]:
    """Frames of a camera (a number or /dev/video*) or of a video file, as RGB arrays."""
    cv2 = import_cv2()
    camera = source.isdecimal() or source.startswith("/dev/")
    api = cv2.CAP_V4L2 if camera and sys.platform == "linux" else cv2.CAP_ANY
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source, api)
    try:
        if not capture.isOpened():
            raise edgeclf.OptionError(f"Cannot open {source}: no camera or video file is there.")
        file_fps = fps or capture.get(cv2.CAP_PROP_FPS) or VIDEO_FPS
        count = 0
        for _ in repeat(None) if camera else ticks(file_fps):
            good, frame = capture.read()
            if not good:
                break
            yield frame[:, :, ::-1]  # OpenCV gives BGR
            count += 1
        if camera or not count:
            raise edgeclf.OptionError(f"{source} gave no more pictures after {count} frames.")
    finally:
        capture.release()


@contextmanager
def open_source(source: str, fps: float | None) -> Iterator[Iterator[Any]]:
    """The frames of a camera, a video or a folder; the camera is released at the end."""
    folder = Path(source)
    frames = read_folder(folder, fps or FOLDER_FPS) if folder.is_dir() else read_opencv(source, fps)
    try:
        yield frames
    finally:
        with suppress(ValueError):  # one that hangs in a frame is released as the process ends
            frames.close()


class Window:
    """An OpenCV window that shows a frame with a few lines of text."""

    def __init__(self) -> None:
        if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
            raise edgeclf.OptionError("There is no display for a window; add --headless.")
        self._cv2 = import_cv2()
        try:
            self._cv2.namedWindow(TITLE, self._cv2.WINDOW_GUI_NORMAL)  # no tool bar
        except self._cv2.error:
            raise edgeclf.OptionError(
                "This OpenCV has no window; add --headless, or replace it: "
                "pip uninstall opencv-python-headless && pip install opencv-python"
            ) from None

    def show(self, frame: Any, lines: list[str]) -> str:
        """Shows one frame and returns the key that was pressed, or nothing; q if it was closed."""
        picture = np.array(draw(frame, lines))[:, :, ::-1]
        self._cv2.imshow(TITLE, np.ascontiguousarray(picture))
        key = self._cv2.waitKey(1)
        closed = self._cv2.getWindowProperty(TITLE, self._cv2.WND_PROP_VISIBLE) < 1
        return "q" if closed else chr(key & 0xFF) if key >= 0 else ""


def draw(frame: Any, lines: list[str]) -> Image.Image:
    """The frame, upright and in RGB, with text in its upper left corner."""
    if isinstance(frame, Path):
        with Image.open(frame) as photo:
            picture = ImageOps.exif_transpose(photo).convert("RGB")
    else:
        picture = Image.fromarray(np.ascontiguousarray(frame))
    size = max(10, picture.height // 24)
    ImageDraw.Draw(picture).multiline_text(
        (size // 2, size // 2), "\n".join(lines), "white", ImageFont.load_default(size),
        stroke_width=max(1, size // 12), stroke_fill="black",
    )  # fmt: skip
    return picture


def save_crop(folder: Path, frame: edgeclf.Frame, label: str, spec: edgeclf.ImageSpec) -> Path:
    """Saves the very tensor that the model saw; classifying the file repeats its answer."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w-]", "_", label)[:60]
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{frame.index:06d}-{name}.png"
    Image.fromarray(edgeclf.load_image(frame.image, spec)).save(path)
    return path


def run(args: argparse.Namespace) -> None:
    window = None if args.headless else Window()
    times: deque[float] = deque(maxlen=RATE_OVER)
    count = dropped = 0
    with (
        edgeclf.Classifier(args.model) as classifier,
        open_source(args.source, args.fps) as frames,
        closing(classifier.stream(frames)) as answers,  # ends before its frames do
        suppress(KeyboardInterrupt),  # Ctrl-C is how a camera is left
    ):
        spec = classifier.artifact.metadata.image
        for frame in islice(answers, args.frames):
            count, dropped = count + 1, frame.dropped
            times.append(time.monotonic())
            rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
            state = f"{rate:.1f} answers/s, {dropped} dropped"
            if isinstance(frame.answer, edgeclf.Failure):
                print(f"frame {frame.index}: {frame.answer.error}", file=sys.stderr)
                continue
            scores = frame.answer.top(args.top, threshold=args.threshold)
            words = [f"{score.label} {score.probability:.1%}" for score in scores] or ["unsure"]
            if frame.answer.unknown:  # the file was calibrated, and was never taught this
                words.insert(0, "unknown:")
            if window is None:
                print(f"frame {frame.index}: {', '.join(words)}; {state}", flush=True)
                if args.save_crop is not None:
                    save_crop(args.save_crop, frame, frame.answer.label, spec)
                continue
            key = window.show(frame.image, [*words, state])
            if key == "s":
                folder = args.save_crop or Path("crops")
                print(f"saved {save_crop(folder, frame, frame.answer.label, spec)}")
            elif key == "q":
                break
    print(f"{count} answers, {dropped} frames dropped")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="an artifact: .tflite, .onnx or .keras")
    parser.add_argument("--source", default="0",
                        help="camera number or device, video or folder (default: 0)")  # fmt: skip
    parser.add_argument("--headless", action="store_true", help="print lines, show no window")
    parser.add_argument("--frames", type=int, metavar="N", help="end after N answers")
    parser.add_argument("--save-crop", type=Path, metavar="DIR",
                        help="where key s saves what the model saw (default: crops); "
                             "headless, every answer's is saved")  # fmt: skip
    parser.add_argument("--top", type=int, default=1, metavar="K", help="classes to show")
    parser.add_argument("--threshold", type=float, default=0.0, metavar="P",
                        help="least probability to show, 0..1")  # fmt: skip
    parser.add_argument("--fps", type=float, metavar="F",
                        help="pace of a video (default: its own), folder (default: 5)")  # fmt: skip
    args = parser.parse_args()
    print_every_letter()
    if (args.fps is not None and args.fps <= 0) or (args.frames is not None and args.frames < 1):
        parser.error("--fps and --frames are greater than 0")
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end when `| head` has seen enough
    try:
        run(args)
    except edgeclf.EdgeclfError as exc:
        print(f"camera.py: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while it was starting or ending
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
