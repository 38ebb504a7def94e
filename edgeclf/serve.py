"""`edgeclf serve`: artifacts behind a port."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence

from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.service.config import ServiceConfig
from edgeclf.system.arguments import add_device, add_runtime
from edgeclf.system.progress import log

_DEFAULTS = ServiceConfig()
_OF_PLAN = ("rate", "p99_ms", "images", "profile")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("files", nargs="*", metavar="[NAME[:VERSION]=]FILE",
                        help="artifacts; by default the file says name and version")  # fmt: skip
    parser.add_argument("--models", metavar="DIR",
                        help="a folder of artifacts, or of MODEL/VERSION/FILE")  # fmt: skip
    parser.add_argument("--host", default=_DEFAULTS.host,
                        help=f"where to listen (default: {_DEFAULTS.host})")  # fmt: skip
    parser.add_argument("--port", type=int, default=_DEFAULTS.port,
                        help=f"0 for any free one (default: {_DEFAULTS.port})")  # fmt: skip
    add_runtime(parser)
    add_device(parser)
    parser.add_argument("--probe", nargs="?", const="", metavar="URL",
                        help="serve nothing: ask whether the service there is ready, and exit with "
                        "0 or 1 (default: at --host and --port)")  # fmt: skip
    parser.add_argument("--ui", action="store_true",
                        help="show a page at / to browsers, which may run the models themselves: "
                        "it gives out their files")  # fmt: skip
    parser.add_argument("--gallery", metavar="DIR",
                        help="sample pictures that the page offers (default: none)")  # fmt: skip
    work = parser.add_argument_group("work")
    work.add_argument("--threads", type=int, default=_DEFAULTS.threads,
                      help=f"of one engine (default: {_DEFAULTS.threads})")  # fmt: skip
    work.add_argument("--workers", type=int,
                      help="that decode and answer (default: CPUs divided by threads)")  # fmt: skip
    work.add_argument("--queue", type=int, default=_DEFAULTS.queue, metavar="N",
                      help=f"pictures that may wait (default: {_DEFAULTS.queue})")  # fmt: skip
    work.add_argument("--deadline-s", type=float, default=_DEFAULTS.deadline_s, metavar="S",
                      help=f"for an answer (default: {_DEFAULTS.deadline_s:g})")  # fmt: skip
    work.add_argument("--drain-s", type=float, default=_DEFAULTS.drain_s, metavar="S",
                      help="to go on after SIGTERM, not ready any more "
                      f"(default: {_DEFAULTS.drain_s:g})")  # fmt: skip
    versions = parser.add_argument_group("versions")
    versions.add_argument("--watch", dest="watch_s", type=float, default=_DEFAULTS.watch_s,
                          metavar="S", help="between two looks for what is new in --models; 0 "
                          f"looks once (default: {_DEFAULTS.watch_s:g})")  # fmt: skip
    versions.add_argument("--shadow", type=float, default=_DEFAULTS.shadow, metavar="SHARE",
                          help="of pictures that a new version answers too, unseen, before it "
                          "may answer for its model (default: none)")  # fmt: skip
    versions.add_argument("--shadow-pictures", type=int, default=_DEFAULTS.shadow_pictures,
                          metavar="N", help="that it is judged by "
                          f"(default: {_DEFAULTS.shadow_pictures})")  # fmt: skip
    versions.add_argument("--agreement", type=float, default=_DEFAULTS.agreement, metavar="SHARE",
                          help="with the present one, which the lower end of its 95 %% interval "
                          f"must reach (default: {_DEFAULTS.agreement:g})")  # fmt: skip
    versions.add_argument("--canary", type=float, default=_DEFAULTS.canary, metavar="SHARE",
                          help="of requests that a new version answers before it gets all "
                          "(default: none)")  # fmt: skip
    versions.add_argument("--canary-pictures", type=int, default=_DEFAULTS.canary_pictures,
                          metavar="N", help="that it must have answered then, none failed "
                          f"(default: {_DEFAULTS.canary_pictures})")  # fmt: skip
    versions.add_argument("--memory-mb", type=float, metavar="MB",
                          help="above which versions that nobody asks for are unloaded "
                          "(default: no limit)")  # fmt: skip
    watch = parser.add_argument_group("monitoring")
    watch.add_argument("--no-monitor", dest="monitor", action="store_false",
                       help="do not watch answers and pictures for drift")  # fmt: skip
    watch.add_argument("--monitor-state", metavar="FILE",
                       help="keeps what it knows over a restart (default: none)")  # fmt: skip
    watch.add_argument("--log", metavar="FILE",
                       help="a line of JSON for each request, without pictures; '-' for standard "
                       "output")  # fmt: skip
    watch.add_argument("--sample-to", metavar="DIR",
                       help="keep some pictures, at random and of low confidence, to be labelled; "
                       "without their metadata (default: none)")  # fmt: skip
    watch.add_argument("--sample-files", type=int, default=_DEFAULTS.sample_files, metavar="N",
                       help=f"at most (default: {_DEFAULTS.sample_files})")  # fmt: skip
    watch.add_argument("--sample-mb", type=float, default=_DEFAULTS.sample_mb, metavar="MB",
                       help=f"at most (default: {_DEFAULTS.sample_mb:g})")  # fmt: skip
    registry = parser.add_argument_group("registry")
    registry.add_argument("--registry", metavar="models:/NAME@ALIAS",
                          help="serve what an alias in an MLflow registry names")  # fmt: skip
    registry.add_argument("--tracking-uri", metavar="URI",
                          help="where that is (default: MLFLOW_TRACKING_URI, else "
                          "sqlite:///mlflow.db)")  # fmt: skip
    registry.add_argument("--poll", dest="poll_s", type=float, default=_DEFAULTS.poll_s,
                          metavar="S", help="between two looks at the alias "
                          f"(default: {_DEFAULTS.poll_s:g})")  # fmt: skip
    registry.add_argument("--registry-cache", metavar="DIR",
                          help="keeps its files, for a start without the registry "
                          "(default: ~/.cache/edgeclf/registry)")  # fmt: skip
    registry.add_argument("--registry-secret", metavar="FILE",
                          help="with the secret of webhooks to /admin/registry/refresh"
                          )  # fmt: skip
    ray = parser.add_argument_group("many machines")
    ray.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS",
                     help="run on a Ray cluster, as an application of Ray Serve (default: one that "
                     "is started on this machine)")  # fmt: skip
    ray.add_argument("--replicas", metavar="N|LEAST:MOST",
                     help="that Ray runs, or adds and takes away by the load (default: 1)"
                     )  # fmt: skip
    fleet = parser.add_argument_group("fleet")
    fleet.add_argument("--fleet", metavar="DB", help="take reports of devices that update "
                       "themselves, and keep them there: a file, or "
                       "postgresql://USER@HOST/DATABASE")  # fmt: skip
    fleet.add_argument("--fleet-open", action="store_true",
                       help="also of devices that nobody has enrolled")  # fmt: skip
    parser.add_argument("--otel", action="store_true",
                        help="send spans by OTLP, as the OTEL_* variables say")  # fmt: skip
    keys = parser.add_argument_group("keys")
    keys.add_argument("--keys", metavar="FILE",
                      help="who may ask; needed for any --host but this machine")  # fmt: skip
    keys.add_argument("--new-key", metavar="NAME",
                      help="make a key, write its hash to the file, print it and end")  # fmt: skip
    keys.add_argument("--role", choices=("classify", "admin"), default="classify",
                      help="of the new key (default: classify)")  # fmt: skip
    keys.add_argument("--rate", type=float, metavar="R",
                      help="requests/s that the new key may make (default: any), or "
                      "that --plan is for")  # fmt: skip
    proof = parser.add_argument_group("proof")
    proof.add_argument("--replay-minutes", type=float, default=_DEFAULTS.replay_minutes,
                       metavar="M", help="between two replays of each certificate "
                       f"(default: {_DEFAULTS.replay_minutes:g})")  # fmt: skip
    proof.add_argument("--unverified", action="store_true",
                       help="serve files that have no certificate too")  # fmt: skip
    plan = parser.add_argument_group("plan")
    plan.add_argument("--plan", action="store_true",
                      help="serve nothing: say what --rate needs")  # fmt: skip
    plan.add_argument("--p99-ms", type=float, metavar="MS",
                      help="in which 99 of 100 must be answered")  # fmt: skip
    plan.add_argument("--images", metavar="DIR",
                      help="what will be sent, to measure with")  # fmt: skip
    plan.add_argument("--profile", metavar="FILE",
                      help="what 'edgeclf load' or 'benchmark' measured, instead")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    if args.probe is not None:
        host = f"[{args.host}]" if ":" in args.host else args.host
        return _probe(args.probe or f"http://{host}:{args.port}")
    names = {each.name for each in dataclasses.fields(ServiceConfig)}
    if args.new_key is not None:
        return _new_key(args)
    config = ServiceConfig(**{k: v for k, v in vars(args).items() if k in names})
    if args.plan:
        return _plan(args, config)
    idle = [f"--{name.replace('_', '-')}" for name in _OF_PLAN if getattr(args, name) is not None]
    if idle:
        raise OptionError(f"{', '.join(idle)} have no effect without --plan. Add it.")
    if args.gallery is not None and not args.ui:
        raise OptionError("--gallery has no effect without --ui. Add it.")
    if args.ray is None and args.replicas is not None:
        raise OptionError("--replicas has no effect without --ray. Add it.")
    replicas = (1, 1) if args.replicas is None else _replicas(args.replicas)
    serve(args.files, models=args.models, config=config, ray=args.ray, replicas=replicas)
    return 0


def _replicas(word: str) -> tuple[int, int]:
    """Reads ``N`` or ``LEAST:MOST``."""
    least, separator, most = word.partition(":")
    try:
        return int(least), int(most if separator else least)
    except ValueError:
        raise OptionError(f"--replicas is {word!r}; expected N, or LEAST:MOST as 2:8.") from None


def _new_key(args: argparse.Namespace) -> int:
    from edgeclf.service.keys import add_key

    if args.keys is None:
        raise OptionError("--new-key needs --keys FILE, where the key's hash is to be written.")
    # The key alone on standard output, so that a script can take it.
    print(add_key(args.keys, args.new_key, args.role, args.rate))
    log(
        f"edgeclf: this is the key of {args.new_key!r}, role {args.role}. It is shown once; "
        f"{args.keys} holds its hash."
    )
    return 0


def _probe(url: str) -> int:
    from edgeclf.service.probe import probe

    problem = probe(url)
    if problem is not None:
        log(f"edgeclf: {problem}")
    return 0 if problem is None else 1


def serve(
    files: Sequence[str | os.PathLike[str]] = (),
    *,
    models: str | os.PathLike[str] | None = None,
    config: ServiceConfig | None = None,
    ray: str | None = None,
    replicas: tuple[int, int] = (1, 1),
) -> None:
    """Answers pictures over HTTP until a signal ends it; to be called in the main thread.

    Args:
        files: Artifacts, each as ``FILE``, ``NAME=FILE`` or ``NAME:VERSION=FILE``.
        models: A folder of artifacts, or of ``MODEL/VERSION/FILE``.
        config: How it runs; by default at 127.0.0.1, port 8080.
        ray: Address of a Ray cluster to run on, ``local`` for one of this machine; by default it
            runs in this process.
        replicas: That Ray runs at least and at most.

    Raises:
        OptionError: There is nothing to serve, or Ray cannot do what is asked.
        ServiceError: It cannot listen there.
        EdgeclfError: An artifact cannot be served.
        MissingDependencyError: The extra ``serve`` or ``ray`` is not installed.

    Examples:
        ```python
        edgeclf.serve(["birds.int8.tflite"])
        ```
    """
    try:
        from edgeclf.service.server import run_service
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(exc.name or "starlette", "serve", "'edgeclf serve'") from exc
    from edgeclf.service.loading import named

    config = config or ServiceConfig()
    if models is not None:
        config = dataclasses.replace(config, models=os.fspath(models))
    if not files and config.models is None and config.registry is None:
        raise OptionError(
            "Nothing to serve; give an artifact, a folder of them with --models, or what an alias "
            "names with --registry."
        )
    sources = [named(os.fspath(word)) for word in files]
    if ray is None:
        run_service(sources, config)
        return
    from edgeclf.service.ray_cluster import RayConfig
    from edgeclf.service.ray_service import run_ray

    try:
        run_ray(sources, config, RayConfig(ray, *replicas))
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(exc.name or "ray", "ray", "'edgeclf serve --ray'") from exc


def _plan(args: argparse.Namespace, config: ServiceConfig) -> int:
    """Says what a rate needs."""
    if args.rate is None or args.p99_ms is None or (args.images is None) == (args.profile is None):
        raise OptionError(
            "--plan needs --rate R, --p99-ms MS, and one of --images DIR (to measure) and "
            "--profile FILE (measured before)."
        )
    if args.models is not None or len(args.files) > 1 or (args.images and not args.files):
        raise OptionError("--plan is for one artifact; expected its file.")
    from edgeclf.service.loading import named

    try:
        from edgeclf.service.profiles import measure_profile, read_profile
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(exc.name or "httptools", "serve", "'edgeclf serve'") from exc
    from edgeclf.service.planning import Demand, make_plan, to_text

    demand = Demand(args.rate, args.p99_ms, config.worker_count, config.threads, config.queue)
    file = named(args.files[0])[0] if args.files else None
    if args.profile is not None:
        profile = read_profile(args.profile, file, config.threads)
    else:
        assert file is not None
        words = ["--threads", str(config.threads), "--workers", str(config.worker_count),
                 "--runtime", config.runtime, "--device", config.device]  # fmt: skip
        words += ["--unverified"] * config.unverified
        profile = measure_profile(file, args.images, words)
    print(to_text(make_plan(profile, demand), profile, demand, args.images))
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["serve", *sys.argv[1:]]))
