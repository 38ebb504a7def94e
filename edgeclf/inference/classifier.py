"""Image in, prediction out, over any runtime."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from time import perf_counter
from types import TracebackType
from typing import NoReturn, TypeVar, get_args

import numpy as np

from edgeclf.artifact import Artifact, load_artifact
from edgeclf.errors import ImageError, InferenceError, OptionError
from edgeclf.image import ImageSource, UInt8Array
from edgeclf.inference.confidence import Confidence, Unknown
from edgeclf.inference.forks import check_process, mark_after_fork
from edgeclf.inference.pictures import Pictures, Prepared, several
from edgeclf.inference.prediction import Failure, Frame, Prediction, Timing
from edgeclf.inference.streaming import newest
from edgeclf.runtimes import Device, Runtime, RuntimeInfo, load_runtime
from edgeclf.runtimes.base import Float32Array, features_of, gives_features
from edgeclf.runtimes.choice import choose_runtime
from edgeclf.system.cpu import MOST_THREADS, is_thread_count

_BATCH_SIZE = 16
_ROWS_AT_ONCE = 64
_Answer = TypeVar("_Answer")


class Classifier:
    """A model ready to classify pictures; safe to share between threads.

    A process that is forked from one with a classifier cannot use it, as engines keep threads that
    do not survive a fork: it says so. Build one in each process.

    Args:
        model: Path or bytes of an artifact, or one that is already loaded.
        runtime: A runtime's name, ``auto`` for what fits file and machine (see `describe`), or an
            object that fills the seam `edgeclf.runtimes.Runtime`.
        device: ``cpu``, ``cuda``, or an accelerator ``gpu`` or ``npu`` of LiteRT; what is asked
            for is what runs, or an error says why not.
        threads: Threads for one call; by default as many CPUs as this process may use.
        fetch: Turns a URL into the bytes of an image file; without it, URLs are refused.
        probe: Try one inference in a child process first, which a hostile or broken model may
            kill. For files from strangers; takes about as long as a cold start.

    Raises:
        ArtifactError: The file is no artifact, or was changed.
        RuntimeLoadError: The runtime is unknown, not installed or cannot load this model.

    Examples:
        With a file, as on a device:

        ```python
        with Classifier("mugs.int8.tflite") as classifier:
            print(classifier.classify("photo.jpg").label)
        ```

        With the fake runtime, which answers by brightness:

        >>> import numpy as np
        >>> from edgeclf import Classifier
        >>> from edgeclf.runtimes.fake import fake_artifact
        >>> photo = np.full((480, 640, 3), 250, np.uint8)
        >>> with Classifier(fake_artifact(["dark", "bright"]), runtime="fake") as classifier:
        ...     classifier.classify(photo).label
        'bright'
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Artifact,
        *,
        runtime: str | Runtime = "auto",
        device: Device = "cpu",
        threads: int | None = None,
        fetch: Callable[[str], bytes] | None = None,
        probe: bool = False,
    ) -> None:
        if not is_thread_count(threads):
            raise OptionError(f"threads is {threads}; expected 1 to {MOST_THREADS}, or None.")
        self.artifact = model if isinstance(model, Artifact) else load_artifact(model)
        self._confidence = Confidence.of(self.artifact)
        self._spec = self.artifact.metadata.image
        self._pictures = Pictures(self._spec, fetch)
        self._reason = "it was asked for"
        if runtime == "auto":
            choice = choose_runtime(self.artifact, device)
            runtime, threads = choice.runtime, threads or choice.threads
            self._reason = choice.reason
        if isinstance(runtime, str):
            if probe:
                from edgeclf.runtimes.probe import probe as try_in_child

                try_in_child(self.artifact, runtime, device, threads)
            runtime = load_runtime(runtime, self.artifact, device=device, threads=threads)
        elif probe:
            raise OptionError("probe needs a runtime's name; an object is already loaded here.")
        self._runtime = runtime
        self.forked = False  # set in a child of this process
        mark_after_fork(self)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the model's output."""
        return self.artifact.metadata.labels

    @property
    def gives_features(self) -> bool:
        """Whether `features` can answer, by what the file says and what the runtime can."""
        return self.artifact.metadata.features is not None and gives_features(self._runtime)

    def classify(self, image: ImageSource, *, unknown: Unknown = "flag") -> Prediction:
        """Classifies one picture.

        Args:
            image: A path, a URL if there is a `fetch`, the bytes of an image file, a binary file
                object (read from its start), a PIL image, or an array uint8 RGB [H, W, 3], 0..255,
                of any size.
            unknown: ``flag`` says in `Prediction.unknown` whether the picture shows what the model
                has never seen, where file and runtime can tell; ``label`` says it in
                `Prediction.label` too, and is refused where they cannot; ``off`` saves the time.

        Raises:
            ImageError: The picture cannot be read or is refused.
            InferenceError: The engine failed, or the process was forked since.
            OptionError: `unknown` is something else, or ``label`` and the file cannot tell.
            RuntimeLoadError: It is ``label`` and the runtime cannot tell.
        """
        self._check_unknown(unknown)
        prepared = self._pictures.prepare(image)
        return next(self._predictions([prepared], unknown))

    def classify_batch(
        self,
        images: Iterable[ImageSource],
        *,
        batch_size: int = _BATCH_SIZE,
        unknown: Unknown = "flag",
    ) -> Iterator[Prediction | Failure]:
        """Classifies many pictures, decoding on all CPUs while the model runs.

        Args:
            images: Pictures as for `classify`; read as far ahead as CPUs can decode and no
                further, so a generator over a million is fine. Arrays must not be changed before
                they are answered.
            batch_size: How many the engine gets at once, where it takes more than one.
            unknown: As for `classify`.

        Yields:
            An answer for each picture, in order: a `Prediction`, or a `Failure` for one that
            cannot be read, which does not stop the others.

        Raises:
            OptionError: `images` is one picture instead of several, or `batch_size` is below 1.
            InferenceError: As for `classify`.

        Examples:
            >>> import numpy as np
            >>> from edgeclf import Classifier, Failure
            >>> from edgeclf.runtimes.fake import fake_artifact
            >>> classifier = Classifier(fake_artifact(["dark", "bright"]), runtime="fake")
            >>> pictures = [np.zeros((64, 64, 3), np.uint8), b"no picture"]
            >>> for answer in classifier.classify_batch(pictures):
            ...     print("failed" if isinstance(answer, Failure) else answer.label)
            dark
            failed
        """
        if batch_size < 1:
            raise OptionError(f"batch_size is {batch_size}; expected at least 1.")
        self._check_unknown(unknown)
        return self._classify_batch(several(images), batch_size, unknown)

    def _classify_batch(
        self, images: Iterable[ImageSource], batch_size: int, unknown: Unknown
    ) -> Iterator[Prediction | Failure]:
        inputs = self._pictures.prepare_ahead(images)
        while batch := list(islice(inputs, batch_size)):
            yield from self._answers(batch, unknown)

    def _answers(
        self, batch: Sequence[Prepared | ImageError], unknown: Unknown
    ) -> Iterator[Prediction | Failure]:
        """Those to pictures that the engine gets at once, where they could be prepared."""
        good = [prepared for prepared in batch if isinstance(prepared, Prepared)]
        answers = self._predictions(good, unknown)
        for prepared in batch:
            yield next(answers) if isinstance(prepared, Prepared) else Failure(prepared)

    def classify_together(
        self,
        images: Sequence[ImageSource],
        *,
        unknown: Unknown = "flag",
        seen: Callable[[UInt8Array], None] | None = None,
    ) -> list[Prediction | Failure]:
        """Classifies a few pictures by one run of the engine, all in the calling thread.

        For callers with threads of their own; `classify_batch`, whose arguments, answers and
        errors are the same, decodes on all CPUs.

        Args:
            images: As for `classify_batch`.
            unknown: As for `classify`.
            seen: Gets what the engine is about to get of each picture that could be read, in
                order: uint8 RGB [height, width, 3] of the model's input.
        """
        self._check_unknown(unknown)
        prepared = self._pictures.prepare_all(images)
        if seen is not None:
            for each in prepared:
                if isinstance(each, Prepared):
                    seen(each.tensor)
        return list(self._answers(prepared, unknown))

    def stream(
        self, frames: Iterable[ImageSource], *, unknown: Unknown = "flag"
    ) -> Generator[Frame, None, None]:
        """Classifies the newest frame of a camera, again and again; older ones are dropped.

        Args:
            frames: A source that gives frames at its own pace, such as a generator that reads a
                camera. It is read in a thread of its own. For files, where none may be dropped,
                use `classify_batch`.
            unknown: As for `classify`.

        Yields:
            A frame with its answer and the number of frames dropped so far. The last frame of the
            source is always answered.

        Examples:
            >>> import numpy as np
            >>> from edgeclf import Classifier
            >>> from edgeclf.runtimes.fake import fake_artifact
            >>> classifier = Classifier(fake_artifact(["dark", "bright"]), runtime="fake")
            >>> frames = [np.full((48, 64, 3), level, np.uint8) for level in (0, 250)]
            >>> [frame.answer.label for frame in classifier.stream(frames)][-1]
            'bright'
        """
        with closing(newest(frames)) as latest:
            for answered, (index, image) in enumerate(latest):
                answer: Prediction | Failure
                try:
                    answer = self.classify(image, unknown=unknown)
                except ImageError as exc:
                    answer = Failure(exc)
                yield Frame(index, image, answer, dropped=index - answered)

    def probabilities(self, images: Iterable[ImageSource] | UInt8Array) -> Float32Array:
        """The bare numbers for several pictures, for evaluation.

        Args:
            images: Pictures as for `classify`, or one array uint8 [N, H, W, 3] that already has
                the model's input size.

        Returns:
            float32 [N, classes] in the model's order; each row sums to 1.

        Raises:
            ImageError: One of the pictures cannot be read.
        """
        rows = list(self._run_all(images, self._run))
        return np.concatenate(rows) if rows else np.empty((0, len(self.labels)), np.float32)

    def features(
        self, images: Iterable[ImageSource] | UInt8Array
    ) -> tuple[Float32Array, Float32Array]:
        """The same with the network's last feature map, for fitting and explaining.

        The first call lets the engine load the model again, in memory, with one more output; the
        file stays as it is.

        Args:
            images: As for `probabilities`, at least one.

        Returns:
            Probabilities float32 [N, classes] and features float32 [N, h, w, c]: rows, columns and
            channels as `edgeclf.artifact.Features` reads them from the metadata.

        Raises:
            ArtifactError: The file does not say where its features are, or they are not there.
            RuntimeLoadError: The runtime cannot give them.
            ImageError: One of the pictures cannot be read.

        Examples:
            >>> import numpy as np
            >>> from edgeclf import Classifier
            >>> from edgeclf.runtimes.fake import FakeRuntime, fake_artifact
            >>> artifact = fake_artifact(["dark", "bright"])
            >>> runtime = FakeRuntime(artifact, features=lambda images: images[:, ::8, ::8])
            >>> photos = [np.zeros((48, 64, 3), np.uint8)]
            >>> [part.shape for part in Classifier(artifact, runtime=runtime).features(photos)]
            [(1, 2), (1, 4, 4, 3)]
        """
        check_process(self.forked)
        parts = list(self._run_all(images, features_of(self._runtime)))
        if not parts:
            raise OptionError("There are no images to compute features of; expected at least one.")
        probabilities, features = zip(*parts, strict=True)
        return np.concatenate(probabilities), np.concatenate(features)

    def _run_all(
        self, images: Iterable[ImageSource] | UInt8Array, run: Callable[[UInt8Array], _Answer]
    ) -> Iterator[_Answer]:
        """What a method of the runtime gives for several pictures, a batch at a time."""
        if isinstance(images, np.ndarray):
            expected = (self._spec.height, self._spec.width, 3)
            if images.dtype != np.uint8 or images.shape[1:] != expected:
                raise OptionError(
                    f"Received {images.dtype} {images.shape}; expected uint8 {('N', *expected)}."
                )
            yield run(images)
            return
        inputs = self._pictures.prepare_ahead(several(images))
        while batch := list(islice(inputs, _ROWS_AT_ONCE)):
            tensors = []
            for prepared in batch:
                if not isinstance(prepared, Prepared):
                    raise prepared
                tensors.append(prepared.tensor)
            yield run(np.stack(tensors))

    def describe(self) -> RuntimeInfo:
        """What the model really runs on, and why it runs there."""
        return dataclasses.replace(self._runtime.describe(), reason=self._reason)

    def close(self) -> None:
        """Frees the model; the classifier cannot be used afterwards."""
        if not self.forked:  # the engine's threads are not here: it would wait for them
            self._runtime.close()

    def _run(self, tensors: UInt8Array) -> Float32Array:
        check_process(self.forked)
        return self._runtime.run(tensors)

    def _check_unknown(self, unknown: Unknown) -> None:
        if unknown not in get_args(Unknown):
            raise OptionError(f"unknown is {unknown!r}; expected one of {get_args(Unknown)}.")
        if unknown == "label" and self._confidence is None:
            raise OptionError(
                f"{self.artifact.path or 'This file'} cannot tell what is unknown; calibrate it "
                "with 'edgeclf calibrate', or leave unknown='label' away."
            )
        if unknown == "label" and self._confidence and self._confidence.needs_features:
            features_of(self._runtime)

    def _predictions(self, given: Sequence[Prepared], unknown: Unknown) -> Iterator[Prediction]:
        """Answers to pictures that the engine gets at once, with what the file says of each."""
        if not given:
            return
        trust = self._confidence
        one = given[0].tensor[np.newaxis]  # not copied: most calls are about one picture
        tensors = one if len(given) == 1 else np.stack([prepared.tensor for prepared in given])
        confidences: list[float] | None = None
        novelties: list[float] | None = None
        start = perf_counter()
        features = None
        if trust and trust.needs_features and unknown != "off" and self.gives_features:
            check_process(self.forked)
            rows, features = features_of(self._runtime)(tensors)
        else:
            rows = self._run(tensors)
        if trust:
            certain, novel = trust.judge(rows, features)
            confidences = certain.tolist()
            novelties = None if novel is None or unknown == "off" else novel.tolist()
        share_ms = (perf_counter() - start) * 1e3 / len(given)
        for index, prepared in enumerate(given):
            novelty = novelties[index] if novelties else None
            yield Prediction(
                self.labels,
                tuple(rows[index].tolist()),
                Timing(prepared.decode_ms, prepared.preprocess_ms, share_ms),
                confidences[index] if confidences else None,
                None if novelty is None else novelty > 1,
                novelty,
                trust.sets if trust else None,
                unknown == "label",
            )

    def __reduce__(self) -> NoReturn:
        raise InferenceError(
            "A Classifier cannot be pickled or copied: its engine lives in this process. Send the "
            "file's path, and build the Classifier where it answers: of a pool of processes in the "
            "initializer, as in Pool(initializer=load, initargs=(path,))."
        )

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
