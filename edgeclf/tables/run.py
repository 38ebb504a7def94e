"""From pictures to a table: what is the same in one process and on a cluster."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf.artifact import Artifact, load_artifact
from edgeclf.errors import OptionError
from edgeclf.image import is_url
from edgeclf.inference.classifier import Classifier
from edgeclf.system import files
from edgeclf.system.progress import Progress, log
from edgeclf.system.words import counted
from edgeclf.tables.answering import answered, prove
from edgeclf.tables.config import BulkConfig
from edgeclf.tables.items import Piece, Source, entries, fetched
from edgeclf.tables.parquet import parquet_module
from edgeclf.tables.rows import Part, Rows
from edgeclf.tables.sources import open_source
from edgeclf.tables.work import Counts, Work, check_table


@dataclass(frozen=True)
class BulkResult:
    """A table that was made.

    Attributes:
        path: The table.
        rows: How many pictures it tells of.
        failed: How many of them could not be answered.
        resumed: How many rows were there already.
        model_sha256: The SHA-256 of the file that answered.
    """

    path: Path
    rows: int
    failed: int
    resumed: int
    model_sha256: str


def make_table(
    names: Sequence[str], model: str | os.PathLike[str], to: str | os.PathLike[str],
    config: BulkConfig,
) -> BulkResult:  # fmt: skip
    """Classifies a source into a table; see `edgeclf.bulk`."""
    table = _checked(to)
    parquet_module()
    artifact = load_artifact(model)
    source = open_source(names, config.column, config.id_column)
    asked = _asked(artifact, source, config)
    done = check_table(table, asked, overwrite=config.overwrite)
    if done is not None:
        log(f"edgeclf: {table} is complete already; nothing to do")
        _remove_leftover(table, asked)
        return BulkResult(table, done.rows, done.failed, done.rows, artifact.sha256)
    with closing(Work(table, asked, overwrite=config.overwrite)) as work:
        resumed = work.counts.rows
        if resumed:
            log(f"edgeclf: going on behind {resumed:,} pictures that {work.folder} has")
        try:
            _fill(work, artifact, source, config)
        except BaseException:
            _log_kept(work)
            raise
        counts = work.finish()
    return BulkResult(table, counts.rows, counts.failed, resumed, artifact.sha256)


def _checked(to: str | os.PathLike[str]) -> Path:
    if is_url(os.fspath(to)):
        raise OptionError(
            f"The table cannot be written to {to}; expected a file of this machine, which can be "
            "copied there."
        )
    files.check_out(to)
    return Path(to)


def _asked(artifact: Artifact, source: Source, config: BulkConfig) -> dict[str, Any]:
    about = artifact.metadata
    names = [name.encode(errors="backslashreplace").decode() for name in source.names]
    return {
        "model": {
            "name": about.name, "version": about.version, "precision": about.precision,
            "format": artifact.format, "sha256": artifact.sha256, "classes": len(about.labels),
        },
        "source": {"kind": source.kind, "names": names, "sha256": source.sha256},
        "options": {"top": config.top, "runtime": config.runtime, "device": config.device},
    }  # fmt: skip


def _remove_leftover(table: Path, asked: dict[str, Any]) -> None:
    """The parts of a run that was killed between its table and its end."""
    if not table.with_name(f"{table.name}.parts").is_dir():
        return
    # Those of another command stay, as it may go on.
    with suppress(OptionError), closing(Work(table, asked, overwrite=False)) as work:
        shutil.rmtree(work.folder)


def _log_kept(work: Work) -> None:
    rows = work.counts.rows
    if rows:
        log(f"edgeclf: {counted(rows, 'answer')} kept in {work.folder}; the same command goes on")


def _fill(work: Work, artifact: Artifact, source: Source, config: BulkConfig) -> None:
    left = list(work.left(source.pieces))
    if not left:
        return
    with closing(_Shown(work, source)) as shown:
        if config.ray is not None:
            from edgeclf.tables.on_ray import answer_on_ray

            with closing(answer_on_ray(artifact, left, config, work.note)) as parts:
                for part in parts:
                    work.save(part)
                    shown.update(work)
        else:
            _answer_here(work, artifact, left, config, shown)


class _Shown:
    """How far the table is; of tar shards, whose pictures nobody has counted, by shards."""

    def __init__(self, work: Work, source: Source) -> None:
        self._rows = source.rows
        self._progress = Progress("classify", source.rows or len(source.pieces))
        self._done = 0
        self.update(work)

    def update(self, work: Work) -> None:
        counts = work.counts
        done = work.finished_pieces if self._rows is None else counts.rows
        self._progress.advance(done - self._done, _note(counts))
        self._done = done

    def close(self) -> None:
        self._progress.close()


def _note(counts: Counts) -> str:
    failed = f", {counts.failed:,} unreadable" if counts.failed else ""
    return f"{counts.rows:,} pictures{failed}"


def _answer_here(
    work: Work, artifact: Artifact, left: Sequence[tuple[Piece, int]], config: BulkConfig,
    shown: _Shown,
) -> None:  # fmt: skip
    """All in this process; on an early end, what is answered is kept."""
    starts = {piece.number: start for piece, start in left}
    rows = Rows(artifact.sha256, config.top, starts)
    with (
        Classifier(artifact, runtime=config.runtime, device=config.device) as classifier,
        _Writer(work, shown) as writer,
    ):
        work.note(prove(classifier, config.unverified))
        found = fetched(entries(left))
        try:
            for entry, answer in answered(found, classifier.classify_batch):
                if (part := rows.add(entry, answer)) is not None:
                    writer.save(part)
        finally:
            if (part := rows.rest()) is not None and not writer.failed:
                writer.save(part)


class _Writer:
    """Saves parts in a thread, as a disk that syncs need keep no engine waiting."""

    def __init__(self, work: Work, shown: _Shown) -> None:
        self._work, self._shown = work, shown
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="edgeclf-parts")
        self._last: Future[None] | None = None
        self.failed = False  # then nothing may be saved behind what is missing

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
        finally:
            self._pool.shutdown()

    def save(self, part: Part) -> None:
        """Waits for the part before it."""
        self._wait()
        self._last = self._pool.submit(self._work.save, part)

    def _wait(self) -> None:
        if self._last is not None:
            last, self._last = self._last, None
            self.failed = True
            last.result()
            self.failed = False
            self._shown.update(self._work)
