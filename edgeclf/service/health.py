"""Whether the process lives, whether it can answer, and its figures: from memory, at any load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeclf.monitoring.metrics import CONTENT_TYPE
from edgeclf.service.asgi import Receive, Scope, Send, respond, respond_json
from edgeclf.service.problem import Problem
from edgeclf.service.service import Service


class HealthRoutes:
    """Liveness, readiness and metrics.

    Args:
        service: Whose they are.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """200 as long as the loop turns; load and models do not matter."""
        await respond_json(send, {"live": True})

    async def ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        """200 once every model has replayed its certificate here; else 503 with what failed."""
        problems = self._service.problems()
        proofs = [
            {"model": v.model, "version": v.number, "sha256": v.sha256, "state": v.state,
             "certificate": None if v.proof is None else v.proof.text}
            for v in self._service.catalog
        ]  # fmt: skip
        proofs += [
            {"model": r.model, "version": r.number, "sha256": None, "state": "refused",
             "certificate": None, "file": Path(r.path).name, "reason": r.reason}
            for r in self._service.catalog.refused.values()
        ]  # fmt: skip
        document: dict[str, Any] = {
            "ready": not problems, "problems": problems, "versions": proofs,
        }  # fmt: skip
        if self._service.registry is not None:
            document["registry"] = self._service.registry.entry()
        await respond_json(send, document, 503 if problems else 200)

    async def monitor(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is known of each version's answers without labels: drift, classes, accuracy."""
        monitoring = self._service.monitoring
        if monitoring is None:
            raise Problem(404, "no_monitor", "Nothing is monitored here: it was switched off by "
                          "--no-monitor.")  # fmt: skip
        await respond_json(send, {"versions": monitoring.report()})

    async def metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything, for Prometheus."""
        metrics = self._service.metrics
        metrics.ready.set(not self._service.problems())
        metrics.versions(
            ((v.model, v.number, v.sha256, v.artifact.metadata.precision,
              "" if v.runtime is None else v.runtime.name, v.state),
             v.size_bytes if v.engines else None)
            for v in self._service.catalog
        )  # fmt: skip
        text = metrics.exposition()
        await respond(send, 200, text, content_type=CONTENT_TYPE.encode())
