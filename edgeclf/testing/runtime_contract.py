"""What every runtime must do, as checks that any test suite can call.

Each check is a function ``check_xxx(load, artifact)`` and raises `AssertionError` with a sentence
that says what was expected. ``load(**options)`` builds the runtime of that artifact, as
`edgeclf.runtimes.load_runtime` does; options are ``threads`` and ``device``. With pytest:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(partial(load_runtime, "my-runtime", artifact), artifact)

Without it, from a shell; the exit code is 1 if a check fails:

    python -m edgeclf.testing.runtime_contract my-runtime photos.fp32.onnx
"""

from __future__ import annotations

import argparse
import dataclasses
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import numpy as np

from edgeclf.artifact import Artifact, Format, load_artifact
from edgeclf.errors import EdgeclfError, InferenceError, RuntimeLoadError, VerificationError
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes import (
    Device,
    Runtime,
    RuntimeInfo,
    import_runtime,
    load_runtime,
    runtime_names,
)
from edgeclf.testing.expectations import (
    Load,
    answers,
    assert_close,
    assert_raises,
    loaded,
    pictures,
)
from edgeclf.trust.certificate import replay

Check = Callable[[Load, Artifact], None]

_THREADS, _CALLS = 4, 50
_WITH_FEATURES = 1e-3  # of a probability, and of the largest feature
_PATIENCE_S = 2.0  # a slow engine gets fewer concurrent calls, so that they take about this long


def check_threads(load: Load, artifact: Artifact) -> None:
    """One thread, where it is asked for, is what `describe` reports.

    The first of the checks, as TensorFlow's threads are fixed when a process first runs it.
    """
    with loaded(load, threads=1) as runtime:
        runtime.run(pictures(artifact, 1))
        found = runtime.describe().threads
    assert found == 1, f"threads=1 was asked for, and describe() says {found}."


def check_description(load: Load, artifact: Artifact) -> None:
    """`describe` returns a `RuntimeInfo` whose fields a report can print."""
    with loaded(load) as runtime:
        info = runtime.describe()
        assert isinstance(info, RuntimeInfo), (
            f"describe() returned {type(info).__name__}; expected a RuntimeInfo."
        )
        assert info.name in runtime_names(), (
            f"describe().name is {info.name!r}, under which no runtime is registered; known are "
            f"{', '.join(runtime_names())}. Give the entry point in the group edgeclf.runtimes the "
            "same name, and install its distribution."
        )
        assert _is_of(info.name, runtime), (
            f"describe().name is {info.name!r}, which is the name of another runtime than "
            f"{type(runtime).__name__}."
        )
    for field in ("library", "library_version", "delegate"):
        value = getattr(info, field)
        assert isinstance(value, str) and value, (
            f"describe().{field} is {value!r}; expected text that is not empty."
        )
    assert info.device in get_args(Device), (
        f"describe().device is {info.device!r}; expected one of {get_args(Device)}."
    )
    assert isinstance(info.threads, int) and info.threads >= 1, (
        f"describe().threads is {info.threads!r}; expected an int of at least 1."
    )


def check_probabilities(load: Load, artifact: Artifact) -> None:
    """No, one and several images give a row of probabilities each."""
    classes = len(artifact.metadata.labels)
    with loaded(load) as runtime:
        for count in (1, 5, 0, 2):
            rows = answers(runtime, pictures(artifact, count))
            assert isinstance(rows, np.ndarray) and rows.dtype == np.float32, (
                f"run() returned {getattr(rows, 'dtype', type(rows).__name__)}; expected an array "
                "of float32."
            )
            assert rows.shape == (count, classes), (
                f"run() returned shape {rows.shape} for {count} images; expected "
                f"{(count, classes)}, a row for each image."
            )
            assert np.isfinite(rows).all(), "run() returned values that are not finite."
            assert (rows >= 0).all(), f"run() returned {rows.min()}; no probability is below 0."
            off = np.abs(rows.sum(axis=1) - 1).max(initial=0)
            assert off <= 1e-3, f"The probabilities of an image sum to 1 only within {off:.6f}."


def check_batch_equals_single(load: Load, artifact: Artifact) -> None:
    """An image gets the same answer alone as among others, in their order."""
    images = pictures(artifact, 5)
    with loaded(load) as runtime:
        together = runtime.run(images)
        apart = np.concatenate([runtime.run(image[np.newaxis]) for image in images])
    assert_close(together, apart, "A batch of 5 and its images one by one")


def check_repeatable(load: Load, artifact: Artifact) -> None:
    """The same images give the same answers, whatever was asked in between."""
    images = pictures(artifact, 3)
    with loaded(load) as runtime:
        first = runtime.run(images).copy()
        runtime.run(images[::-1].copy())
        assert_close(runtime.run(images), first, "The second and the first answer to the same")


def check_answers_are_kept(load: Load, artifact: Artifact) -> None:
    """An answer is the caller's: it outlives later calls and the runtime, and may be changed."""
    images = pictures(artifact, 3)
    with loaded(load) as runtime:
        answer = runtime.run(images[:1])
        as_it_was = answer.copy()
        runtime.run(images[1:2])
        assert_close(answer, as_it_was, "An answer after a later call and before it")
        answer[:] = 0.0  # must not reach into the engine
        again = runtime.run(images[:1])
        assert_close(again, as_it_was, "Answers before and after the caller wrote into the first")
    assert_close(again, as_it_was, "An answer after close() and before it")


def check_input_is_kept(load: Load, artifact: Artifact) -> None:
    """The images are only read, and may be read-only."""
    images = pictures(artifact, 3)
    as_it_was = images.copy()
    with loaded(load) as runtime:
        expected = runtime.run(images)
        assert np.array_equal(images, as_it_was), "run() changed the images that it was given."
        images.flags.writeable = False
        answer = answers(runtime, images)
    assert_close(answer, expected, "Answers to a read-only and to a writable array")


def check_memory_layouts(load: Load, artifact: Artifact) -> None:
    """Views are answered like their copies: mirrored, BGR as RGB, every other one, by columns."""
    images = pictures(artifact, 2)
    views = {
        "mirrored images, images[:, :, ::-1]": images[:, :, ::-1],
        "images upside down, images[:, ::-1]": images[:, ::-1],
        "channels turned round, images[..., ::-1]": images[..., ::-1],
        "every other image, images[::2]": images[::2],
        "columns first, as by np.asfortranarray": np.asfortranarray(images),
        "a cut-out of larger images": np.pad(images, ((0, 0), (3, 5), (2, 7), (0, 1)))[
            :, 3:-5, 2:-7, :-1
        ],
    }
    with loaded(load) as runtime:
        for words, view in views.items():
            expected = runtime.run(view.copy(order="C"))
            assert_close(answers(runtime, view), expected, f"Answers to {words} and to a copy")


def check_wrong_input(load: Load, artifact: Artifact) -> None:
    """What is not uint8 [N, H, W, 3] of the input size is an error, and does no harm."""
    images = pictures(artifact, 2)
    wrong: dict[str, Any] = {
        "float32 0..255": images.astype(np.float32),
        "float32 0..1": (images / 255).astype(np.float32),
        "int8": images.view(np.int8),
        "int64": images.astype(np.int64),
        "bool": images > 127,
        "one image without a batch, [H, W, 3]": images[0],
        "channels first, [N, 3, H, W]": images.transpose(0, 3, 1, 2).copy(),
        "grey, [N, H, W, 1]": images[..., :1].copy(),
        "images a row too low": images[:, :-1].copy(),
        "images a column too wide": np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 0))),
        "flattened, [N, H * W * 3]": images.reshape(2, -1),
        "a list": images.tolist(),
    }
    with loaded(load) as runtime:
        expected = runtime.run(images)
        for words, given in wrong.items():
            assert_raises(EdgeclfError, partial(runtime.run, given), f"run() of {words}")
        assert_close(answers(runtime, images), expected, "Answers after and before wrong input")


def check_close(load: Load, artifact: Artifact) -> None:
    """A closed runtime says so; closing it twice is no error."""
    images = pictures(artifact, 1)
    runtime = load()
    runtime.run(images)
    runtime.close()
    runtime.close()
    assert_raises(InferenceError, partial(runtime.run, images), "run() after close()")


def check_two_at_once(load: Load, artifact: Artifact) -> None:
    """Closing one runtime leaves another of the same artifact alone."""
    images = pictures(artifact, 2)
    with loaded(load) as runtime:
        expected = runtime.run(images)
        with loaded(load) as other:
            assert_close(other.run(images), expected, "Answers of two runtimes of one artifact")
        assert_close(answers(runtime, images), expected, "Answers after and before another's end")


def check_concurrent_calls(load: Load, artifact: Artifact) -> None:
    """Four threads share one runtime, and each gets the answers to its own images."""
    images = pictures(artifact, _THREADS)
    wrong: list[str] = []
    with loaded(load, threads=1) as runtime:
        start = time.perf_counter()
        expected = np.concatenate([runtime.run(image[np.newaxis]) for image in images])
        call_s = (time.perf_counter() - start) / _THREADS
        calls = max(3, min(_CALLS, int(_PATIENCE_S / _THREADS / call_s)))

        def work(first: int) -> None:
            for number in range(first, first + calls):
                index = number % _THREADS
                try:
                    answer = runtime.run(images[index : index + 1])
                    assert_close(answer, expected[index : index + 1], "Answers in threads and not")
                except Exception as exc:  # also what no runtime may raise: it is reported below
                    wrong.append(f"{type(exc).__name__}: {exc}")

        workers = [threading.Thread(target=work, args=(n,)) for n in range(_THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert not wrong, (
        f"{len(wrong)} of {_THREADS * calls} calls from {_THREADS} threads went wrong. The first: "
        f"{wrong[0]} Engines that are not safe to share need a lock."
    )


def check_features(load: Load, artifact: Artifact) -> None:
    """A runtime that gives features gives each image its own, and the answers stay.

    Nothing is asked of a runtime without ``run_with_features``, or of a file without features.
    """
    with loaded(load) as runtime:
        run: Any = getattr(runtime, "run_with_features", None)
        if run is None or artifact.metadata.features is None:
            return
        images, shape = pictures(artifact, 3), artifact.features.shape
        expected = runtime.run(images)
        for count in (3, 0):
            probabilities, features = run(images[:count])
            found = features.dtype, features.shape
            assert found == (np.float32, (count, *shape)), (
                f"run_with_features() gave features of {found[0]} {found[1]} for {count} images; "
                f"expected float32 {(count, *shape)}."
            )
            assert_close(
                probabilities, expected[:count], "Answers with and without", _WITH_FEATURES
            )
        _, features = run(images)
        as_it_was = features.copy()
        apart = np.concatenate([run(image[np.newaxis])[1] for image in images])
        assert np.array_equal(features, as_it_was), "A later call changed features given before."
        off = np.abs(apart - features).max()
        assert off <= _WITH_FEATURES * np.abs(features).max(), (
            f"Features of a batch of 3 and of its images one by one differ by {off:.6f}."
        )
        assert_raises(EdgeclfError, partial(run, images[0]), "run_with_features() of one image")
    assert_raises(InferenceError, partial(run, images), "run_with_features() after close()")


def check_refuses_other_formats(load: Load, artifact: Artifact) -> None:
    """A format that the class does not name in `formats` is refused before it is parsed."""
    with loaded(load) as runtime:
        runtime_class: Any = type(runtime)
    formats = getattr(runtime_class, "formats", None)
    if formats is None:  # it says nothing of formats, and auto never takes it
        return
    assert isinstance(formats, tuple) and set(formats) <= set(get_args(Format)), (
        f"{runtime_class.__name__}.formats is {formats!r}; expected a tuple of {get_args(Format)}."
    )
    for other in set(get_args(Format)) - {*formats, artifact.format}:
        disguised = dataclasses.replace(artifact, format=other)
        assert_raises(
            RuntimeLoadError,
            partial(runtime_class, disguised, device="cpu", threads=1),
            f"Loading a .{other} artifact, which formats = {formats} does not name",
        )


def check_refuses_unknown_device(load: Load, artifact: Artifact) -> None:
    """What is asked for is what runs: a device that it does not know is an error."""
    assert_raises(
        RuntimeLoadError, partial(load, device="nonsense"), "Loading with device='nonsense'"
    )


def check_certificate(load: Load, artifact: Artifact) -> None:
    """The artifact's golden images are answered as certified, if it has a certificate."""
    if artifact.metadata.certificate is None:
        return
    with loaded(load) as runtime:
        try:
            replay(Classifier(artifact, runtime=runtime))
        except VerificationError as exc:
            raise AssertionError(str(exc)) from exc


CHECKS: tuple[Check, ...] = (
    check_threads,
    check_description,
    check_probabilities,
    check_batch_equals_single,
    check_repeatable,
    check_answers_are_kept,
    check_input_is_kept,
    check_memory_layouts,
    check_wrong_input,
    check_close,
    check_two_at_once,
    check_concurrent_calls,
    check_features,
    check_refuses_other_formats,
    check_refuses_unknown_device,
    check_certificate,
)


def _is_of(name: str, runtime: Runtime) -> bool:
    """Whether a runtime can be the one that is registered under a name."""
    try:
        registered = import_runtime(name)
    except RuntimeLoadError:  # that one's engine is not installed, and this one runs
        return False
    return not isinstance(registered, type) or isinstance(runtime, registered)


def _main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m edgeclf.testing.runtime_contract",
        description="Checks whether a runtime does what every runtime must do.",
    )
    parser.add_argument("runtime", choices=runtime_names(), metavar="runtime")
    parser.add_argument("model", help="an artifact that it takes, best one with a certificate")
    args = parser.parse_args()
    try:
        artifact = load_artifact(args.model)
        import_runtime(args.runtime)
    except EdgeclfError as exc:
        parser.error(str(exc))
    failed = 0
    for check in CHECKS:
        title = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            check(partial(load_runtime, args.runtime, artifact), artifact)
        except Exception as exc:  # an AssertionError, or what no runtime may raise
            failed += 1
            words = str(exc) if isinstance(exc, AssertionError) else repr(exc)
            print(f"FAILED  {title}: {words}", flush=True)
        else:
            print(f"ok      {title}", flush=True)
    print(f"{args.runtime} holds {len(CHECKS) - failed} of {len(CHECKS)} checks on {args.model}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(_main())
