"""A source answered by a pool of actors on a Ray cluster.

Each task is one piece: its actor reads, decodes and answers it, and sends its parts back, which the
driver stores. So no picture passes through the object store, no task needs a CPU for reading alone,
and what is done is known by the same files as without Ray. Ray's own checkpoint, the
`CheckpointConfig`, needs a place that all nodes can write, loads all ids at the start, and cannot
be gone on with in one process. Nothing here raises within an actor: Ray would drop a block of
answers, or end the job.
"""

from __future__ import annotations

import importlib
import logging
import pickle
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from edgeclf.artifact import Artifact, load_artifact
from edgeclf.errors import EdgeclfError, ServiceError, mapped
from edgeclf.inference.classifier import Classifier
from edgeclf.system.progress import log
from edgeclf.tables.answering import answered, by_threads, prove
from edgeclf.tables.config import BulkConfig
from edgeclf.tables.items import Piece, entries, fetched
from edgeclf.tables.ray_start import started_ray
from edgeclf.tables.rows import Part, Rows

_CPUS = 1  # of an actor; a machine has as many actors as CPUs
_WATCH_S = 5.0
_LONGEST = 400  # letters of one of Ray's messages
_COLUMNS = ("part", "maker", "problem")


class Answering:
    """An actor of the pool: one engine, which has proven itself before its first answer.

    Args:
        content: The artifact, from the object store, which has it once on each node.
        config: How the table is made.
        sha256: What the artifact must be.
    """

    def __init__(self, content: Any, config: BulkConfig, sha256: str) -> None:
        self._config, self._sha256 = config, sha256
        self._problem: EdgeclfError | None = None
        self._maker: dict[str, Any] = {}
        try:
            self._load(content)
        except EdgeclfError as exc:  # the first piece tells it
            self._problem = exc

    def _load(self, content: Any) -> None:
        import ray

        artifact = load_artifact(bytes(ray.get(content)))
        if artifact.sha256 != self._sha256:
            raise ServiceError(f"A node got a model with the SHA-256 {artifact.sha256}.")
        config = self._config
        self._classifier = Classifier(
            artifact, runtime=config.runtime, device=config.device, threads=_CPUS
        )
        self._maker = {**prove(self._classifier, config.unverified), "ray": ray.__version__}

    def __call__(self, batch: Any) -> Iterator[Any]:
        """Answers one piece; see `_row` for what it gives."""
        (row,) = batch.to_pylist()
        try:
            if self._problem is not None:
                raise self._problem
            for part in self._parts(pickle.loads(row["piece"]), row["skip"]):
                yield _row(part, self._maker)
        except EdgeclfError as exc:
            yield _row(None, self._maker, exc)

    def _parts(self, piece: Piece, skip: int) -> Iterator[Part]:
        rows = Rows(self._sha256, self._config.top, {piece.number: skip})
        run = by_threads(self._classifier, _CPUS + 1)  # one reads while another computes
        for entry, answer in answered(fetched(entries([(piece, skip)])), run):
            if (part := rows.add(entry, answer)) is not None:
                yield part


def _row(part: Part | None, maker: Mapping[str, Any], problem: EdgeclfError | None = None) -> Any:
    import pyarrow as pa

    values = map(pickle.dumps, (part, dict(maker), problem))
    return pa.table({name: [value] for name, value in zip(_COLUMNS, values, strict=True)})


def answer_on_ray(
    artifact: Artifact,
    left: Sequence[tuple[Piece, int]],
    config: BulkConfig,
    note: Callable[[Mapping[str, Any]], None],
) -> Generator[Part, None, None]:
    """Answers pieces on a cluster, in whatever order they are done.

    Args:
        artifact: What answers.
        left: Pieces, with the rows that they have already.
        config: How the table is made.
        note: Gets what answers, before its first part is given.

    Raises:
        ServiceError: The cluster cannot be used, or is lost.
        EdgeclfError: An engine cannot load the artifact on a node, does not answer as certified
            there, or fails.
    """
    with (
        started_ray(config.ray or None, "'edgeclf bulk --ray'") as ray,
        _watched(ray),
        _in_short(),
    ):
        for row in _rows(ray, artifact, left, config):
            part, maker, problem = (pickle.loads(row[name]) for name in _COLUMNS)
            if problem is not None:
                problem.args = (f"On a node of the Ray cluster: {problem}",)
                raise problem
            note(maker)
            yield part


@contextmanager
def _in_short() -> Iterator[None]:
    """Raises what Ray raises without its pages of traceback, whose last line is the error."""
    words = "The Ray cluster ended the work"
    try:
        with mapped(ServiceError, words):
            yield
    except ServiceError as exc:
        if exc.__cause__ is None:
            raise
        lines = str(exc.__cause__).strip().splitlines() or [type(exc.__cause__).__name__]
        raise ServiceError(
            f"{words}: {lines[-1].strip()[:_LONGEST].rstrip('.')}. All nodes need edgeclf and what "
            "the model runs on. Run the command again: it goes on behind what was answered."
        ) from exc.__cause__


def _rows(
    ray: ModuleType, artifact: Artifact, left: Sequence[tuple[Piece, int]], config: BulkConfig
) -> Iterator[dict[str, Any]]:
    importlib.import_module("ray.data")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    items = [{"piece": pickle.dumps(piece), "skip": skip} for piece, skip in left]
    tasks = ray.data.from_items(items, override_num_blocks=len(items))
    done = tasks.map_batches(
        Answering,
        fn_constructor_args=(ray.put(artifact.content), config, artifact.sha256),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=_pool_size(ray, config)),
        num_cpus=_CPUS,
        num_gpus=1 if config.device == "cuda" else None,
    )
    # Retries stay without end, as Ray has them: a lost node takes half a dozen within a second.
    for batch in done.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from batch.to_pylist()


def _pool_size(ray: ModuleType, config: BulkConfig) -> int:
    resources = ray.cluster_resources()
    return max(1, int(resources.get("GPU" if config.device == "cuda" else "CPU", 1)))


@contextmanager
def _watched(ray: ModuleType) -> Iterator[None]:
    """Says so when a node of the cluster is lost."""
    stopped = threading.Event()

    def nodes() -> dict[str, str]:
        return {n["NodeID"]: n["NodeManagerAddress"] for n in ray.nodes() if n["Alive"]}

    def watch() -> None:
        with suppress(ServiceError), mapped(ServiceError, "The cluster is lost"):  # told elsewhere
            known, ended = nodes(), False
            while not ended:
                ended = stopped.wait(_WATCH_S)  # and one look more, or a short run tells nothing
                now = nodes()
                for gone in known.keys() - now.keys():
                    log(
                        f"edgeclf: the node {known[gone]} of the Ray cluster is lost; what it had "
                        "not answered goes to the others"
                    )
                known = now

    thread = threading.Thread(target=watch, name="edgeclf-nodes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
