"""HTTP for the Hub of the tests: sockets, threads, and the faults that strike a request.

    hub.faults.append(Fault("POST", "/commit/", status=429, headers={"RateLimit": '"api";r=0;t=1'}))
    hub.faults.append(Fault("PUT", "/lfs/", kind="cut"))

Each reply closes its connection, so that no socket outlives a test. `tests/hub/server.py`
is the whole server.
"""

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.hub.server_api import Reply, Request, answer

if TYPE_CHECKING:
    from tests.hub.server import HubServer

PACES_PER_S = 20  # how many pieces per second a slowed connection moves


@dataclass
class Fault:
    """A fault for requests whose method (empty: any) and path (a part of it, query included) match.

    Args:
        method: Such as "POST".
        path_contains: Such as "/commit/".
        kind: "status" answers `status`, `headers` and `body` and does nothing else; "cut" drops the
            connection in the middle of the upload's body, or of the reply to a request without one;
            "lost" does what was asked and drops the connection without a reply; "hang" waits
            `seconds` and goes on; "slow" moves `bytes_per_s`, both ways; "stop" ends the server.
        status: Of the "status" kind.
        times: How often it strikes; None for always.
        after: How many matching requests go well before.
        headers: Of the "status" kind, such as `{"RateLimit": '"api";r=0;t=1'}`.
        body: JSON of the "status" kind.
        seconds: Of the "hang" kind.
        bytes_per_s: Of the "slow" kind.
    """

    method: str = ""
    path_contains: str = ""
    kind: str = "status"
    status: int = 503
    times: int | None = 1
    after: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, object] = field(default_factory=lambda: {"error": "injected by the test"})
    seconds: float = 60.0
    bytes_per_s: int = 1_000_000

    def strikes(self, method: str, path: str) -> bool:
        """Whether this request is hit; counts it."""
        if self.method not in ("", method) or self.path_contains not in path or self.times == 0:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times = None if self.times is None else self.times - 1
        return True


class HttpServer(ThreadingHTTPServer):
    """A thread per connection; knows the open ones, so that it can drop them."""

    daemon_threads = False  # so that server_close() waits for them
    request_queue_size = 64

    def __init__(self, hub: "HubServer") -> None:
        self.hub = hub
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: socket.socket, client_address: object) -> None:
        with self.hub.lock:
            self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        with self.hub.lock:
            self.open.discard(request)
            super().shutdown_request(request)

    def drop_connections(self) -> None:
        """Refuse new connections and cut the open ones."""
        self.socket.close()
        with self.hub.lock:
            for connection in self.open:
                with contextlib.suppress(OSError):  # the client may have left by itself
                    connection.shutdown(socket.SHUT_RDWR)


class _CutError(Exception):
    """The connection ends here."""


class _Handler(BaseHTTPRequestHandler):
    """One request: read it, let a fault strike or answer, close."""

    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds without a byte from the client
    server: HttpServer

    def _serve(self) -> None:
        self.close_connection = True
        try:
            self._exchange(self.server.hub)
        except (_CutError, OSError):
            return  # the connection is gone, by a fault or by the client
        except Exception as error:  # noqa: BLE001 -- shown to the client and, at the end, to the test
            self.server.hub.errors.append(error)
            self._send(Reply(501, f"a bug in the test server: {error!r}".encode()), None)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _exchange(self, hub: "HubServer") -> None:
        request = Request(self.command, self.path, self.headers)
        with hub.lock:
            hub.requests.append(request)
        fault = hub.take(self.command, self.path)
        kind = fault.kind if fault else ""
        if kind == "stop":
            hub.stop()
            raise _CutError
        request.body = self._body(fault)
        if kind == "hang":
            hub.stopping.wait(fault.seconds)
        if kind == "status":
            self._send(Reply(fault.status, json.dumps(fault.body).encode(), fault.headers), None)
            return
        with hub.lock:
            reply = answer(hub, request)
        if kind == "lost":
            raise _CutError
        self._send(reply, fault)

    def _body(self, fault: Fault | None) -> bytes:
        """The request's body; a "cut" reads half of it."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunked(fault)
        size = int(self.headers.get("Content-Length") or 0)
        if fault and fault.kind == "cut" and size:
            self._read(size // 2)
            raise _CutError
        return b"".join(self._read(n) for n in self._paces(size, fault))

    def _chunked(self, fault: Fault | None) -> bytes:
        """A body of unknown length (RFC 9112, 7.1); a "cut" reads its first chunk."""
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += b"".join(self._read(n) for n in self._paces(size, fault))
            self.rfile.readline()
            if fault and fault.kind == "cut":
                raise _CutError
        self.rfile.readline()
        return body

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:  # the client went away; half a body must not be taken for a whole one
            raise _CutError
        return data

    def _paces(self, size: int, fault: Fault | None) -> Iterator[int]:
        """Cut `size` bytes into pieces, waiting before each where a fault slows them down."""
        if not fault or fault.kind != "slow":
            yield size
            return
        piece = max(1, fault.bytes_per_s // PACES_PER_S)
        for start in range(0, size, piece):
            if self.server.hub.stopping.wait(piece / fault.bytes_per_s):
                raise _CutError
            yield min(piece, size - start)

    def _send(self, reply: Reply, fault: Fault | None) -> None:
        """The reply; a "cut" promises all of the body and sends half."""
        self.send_response(reply.status)
        headers = {"Content-Length": str(len(reply.body)), "Connection": "close"}
        for name, value in (reply.headers | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        body = reply.body[: len(reply.body) // 2] if fault and fault.kind == "cut" else reply.body
        start = 0
        for n in self._paces(len(body), fault):
            self.wfile.write(body[start : start + n])
            start += n

    def log_message(self, *args: object) -> None:
        """Silence: `hub.requests` is the log."""
