"""uvicorn's WebSocket with our limits: for clients that do not read, and for the service's end."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_GOING_AWAY = 1001  # RFC 6455, 7.4.1
_CLOSE_S = 2.0  # in which a client must say that it has seen the end
_STALLED_S = 20.0  # in which it must read something


class StreamProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    _stalled: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.close_timeout = _CLOSE_S

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets a connection."""
        self._read_on()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(_STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read something."""
        self._read_on()
        super().resume_writing()

    async def send(self, message: Any) -> None:
        """Sends what the application says."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # it was refused, which is no fault to be logged

    def shutdown(self) -> None:
        """The service ends: the client is told, and may go elsewhere."""
        if self.close_sent or not self.handshake_complete or not self.writable.is_set():
            super().shutdown()
            return
        end: Any = {"type": "websocket.close", "code": _GOING_AWAY, "reason": "the service ends"}
        task = self.loop.create_task(self.send(end))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _read_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
