"""What lies between a browser and a service, and changes what it carries."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Headers = dict[str, str]
# From an address to what becomes of an answer's headers and body on the way.
Change = Callable[[str, Headers, bytes], "tuple[Headers, bytes]"]

_OWN = {"transfer-encoding", "content-length", "connection", "keep-alive", "date", "server"}


@contextmanager
def between(url: str, change: Change) -> Iterator[str]:
    """The address of a proxy before a service, which hands answers on as `change` leaves them."""
    host = urlsplit(url).netloc

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("content-length", 0))
            body = self.rfile.read(size)
            # Unpacked, so that bytes can be changed.
            kept = {k: v for k, v in self.headers.items() if k.lower() not in ("accept-encoding",)}
            service = http.client.HTTPConnection(host, timeout=30)
            service.request(self.command, self.path, body, kept)
            answer = service.getresponse()
            given = {k: v for k, v in answer.getheaders() if k.lower() not in _OWN}
            headers, content = change(self.path, given, answer.read())
            service.close()
            self.send_response(answer.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
