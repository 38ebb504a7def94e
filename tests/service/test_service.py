from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from edgeclf import Classifier
from edgeclf.runtimes.fake import FakeRuntime
from edgeclf.service.asgi import Gone
from edgeclf.service.catalog import Version
from edgeclf.service.config import ServiceConfig
from edgeclf.service.intake import Wanted
from edgeclf.service.service import Service
from support.services import artifact, shade


class Held:
    """A service with one worker, whose engine answers once it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.let_go = threading.Event()
        made = artifact()
        runtime = FakeRuntime(made)

        def run(images: Any) -> Any:
            self.calls += 1
            assert self.let_go.wait(30)
            return FakeRuntime.run(runtime, images)

        runtime.run = run  # type: ignore[method-assign]
        self.service = Service(ServiceConfig(workers=1))
        engine = Classifier(made, runtime=runtime)
        version = Version("shades", "1", made, [engine], state="ready")
        self.service.catalog.add(version)
        self.service.catalog.switch(version)

    async def ask(self, wanted: Wanted, receive: Any) -> Any:
        _, (answered,) = await self.service.answer(None, None, [shade(20)], wanted, receive)
        return answered.result

    async def end(self) -> None:
        self.let_go.set()
        await self.service.close()


async def stays() -> Any:
    await asyncio.Event().wait()


def test_what_a_client_asked_that_left_is_not_answered_any_more() -> None:
    async def run() -> None:
        held = Held()
        held.service.start()
        leaves = asyncio.Event()

        async def receive() -> dict[str, str]:
            await leaves.wait()
            return {"type": "http.disconnect"}

        first = asyncio.create_task(held.ask(Wanted(), stays))
        second = asyncio.create_task(held.ask(Wanted(), receive))
        await asyncio.sleep(0.1)
        leaves.set()
        with pytest.raises(Gone):
            await asyncio.wait_for(second, 10)
        held.let_go.set()
        assert (await asyncio.wait_for(first, 10)).label == "dark"
        await held.end()
        assert held.calls == 1
        assert held.service.pool.pending == 0

    asyncio.run(run())


@pytest.mark.parametrize("timeout_s", [0.02, 0.12], ids="{} s".format)
def test_a_client_does_not_wait_beyond_its_deadline(timeout_s: float) -> None:
    async def run() -> None:
        held = Held()
        held.service.start()
        loop = asyncio.get_running_loop()
        start = loop.time()
        result = await asyncio.wait_for(held.ask(Wanted(timeout_s=timeout_s), stays), 10)
        assert result.code == "deadline_exceeded"
        assert loop.time() - start >= timeout_s
        await held.end()

    asyncio.run(run())


def test_a_request_that_is_cancelled_is_no_client_that_left() -> None:
    async def run() -> None:
        held = Held()
        held.service.start()
        asked = asyncio.create_task(held.ask(Wanted(), stays))
        await asyncio.sleep(0.1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await held.end()

    asyncio.run(run())
