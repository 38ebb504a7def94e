"""What a benchmark measures: artifacts x runtimes x threads x batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeclf.artifact import Artifact
from edgeclf.errors import OptionError
from edgeclf.runtimes import DEFAULT_RUNTIME, takes_format
from edgeclf.system.cpu import MOST_THREADS, is_thread_count
from edgeclf.system.words import counted


@dataclass(frozen=True)
class BenchmarkMatrix:
    """Ways to run each artifact; every combination of them is a row.

    Attributes:
        runtimes: Names; None for the usual one of each file. One that does not take a file's
            format is no row of it, unless none of them does.
        threads: Counts of threads for one call; None among them for the CPUs this process may use.
        batches: Numbers of pictures in one call. The latency of a row with more than one is that
            of answering the whole batch.

    Raises:
        OptionError: There is nothing of a kind, or a number below 1.

    Examples:
        >>> from edgeclf import BenchmarkMatrix
        >>> BenchmarkMatrix(threads=(1, 4), batches=(1, 8)).runtimes is None
        True
    """

    runtimes: Sequence[str] | None = None
    threads: Sequence[int | None] = (None,)
    batches: Sequence[int] = (1,)

    def __post_init__(self) -> None:
        for name in ("threads", "batches"):
            numbers = getattr(self, name)
            if not numbers or min(number or 1 for number in numbers) < 1 or 0 in numbers:
                raise OptionError(
                    f"{name} is {numbers}; expected at least one number, and none below 1."
                )
        if not all(map(is_thread_count, self.threads)):
            raise OptionError(f"threads is {self.threads}; expected none above {MOST_THREADS}.")


@dataclass(frozen=True)
class BenchmarkCase:
    """One row to be measured.

    Attributes:
        artifact: The file.
        file: Its name, with ``#2`` and so on if another one before it has the same.
        runtime: The runtime's name.
        threads: Threads for one call; None for as many CPUs as the process may use.
        batch: Pictures in one call.
    """

    artifact: Artifact
    file: str
    runtime: str
    threads: int | None
    batch: int

    @property
    def id(self) -> str:
        """The row's name: ``mugs.int8.tflite|litert|t4|b1``, or ``tauto`` without a number."""
        threads = "auto" if self.threads is None else self.threads
        return f"{self.file}|{self.runtime}|t{threads}|b{self.batch}"

    def __str__(self) -> str:
        parts = [f"{self.file} on {self.runtime}"]
        parts += [] if self.threads is None else [counted(self.threads, "thread")]
        return ", ".join([*parts, *([f"batch {self.batch}"] if self.batch > 1 else [])])


def plan_cases(
    artifacts: Sequence[Artifact],
    runtimes: Sequence[str] | None,
    threads: Sequence[int | None],
    batches: Sequence[int],
) -> list[BenchmarkCase]:
    """Every combination, artifact by artifact.

    Args:
        artifacts: Read from files.
        runtimes: Names; None for the usual one of each file. One that does not take a file's
            format is left out for that file, unless none of them does: then they are all tried,
            and their rows say why not.
        threads: Counts.
        batches: Sizes.

    Raises:
        RuntimeLoadError: There is no runtime of such a name.
    """
    names: dict[str, int] = {}
    cases = []
    for artifact in artifacts:
        assert artifact.path is not None
        file = artifact.path.name
        names[file] = names.get(file, 0) + 1
        if names[file] > 1:
            file = f"{file}#{names[file]}"
        wanted = tuple(runtimes or (DEFAULT_RUNTIME[artifact.format],))
        fitting = [name for name in wanted if takes_format(name, artifact.format)]
        cases += [
            BenchmarkCase(artifact, file, runtime, count, batch)
            for runtime in dict.fromkeys(fitting or wanted)
            for count in dict.fromkeys(threads)
            for batch in dict.fromkeys(batches)
        ]
    return cases
