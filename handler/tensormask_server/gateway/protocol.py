"""uvicorn's HTTP, with the bounds that it lacks: of a request's head, of trailers, and of the number of chunks."""

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 1 << 16  # of a request line and headers; the server behind takes fewer
MOST_CHUNKS = 4096  # of less than LEAST_CHUNK bytes on the average
LEAST_CHUNK = 64  # bytes; parsing smaller ones takes much time for little data


class BoundedProtocol(HttpToolsProtocol):
    """One connection. It is closed when a request goes beyond a bound."""

    _is_in_head = False
    _extra_bytes = 0  # of a head that isn't whole yet, and of trailers
    _chunks = 0
    _body_bytes = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_in_head:
            self._count(len(data))

    def on_message_begin(self) -> None:
        self._is_in_head = True
        self._extra_bytes = self._chunks = self._body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._extra_bytes = 0
        super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header. Trailers, which come after the body, aren't headers: they are dropped."""
        if self._is_in_head:
            super().on_header(name, value)
        else:
            self._count(len(name) + len(value))

    def on_body(self, body: bytes) -> None:
        self._chunks += 1
        self._body_bytes += len(body)
        if self._chunks > MOST_CHUNKS and self._body_bytes < LEAST_CHUNK * self._chunks:
            self.transport.abort()
            return
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answers what isn't HTTP. While another response of the connection is on its way, it only closes it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()
            return
        content = json.dumps({"error": msg, "expected": "a request in HTTP/1.1; GET /docs lists the paths"}).encode()
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + content)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._extra_bytes += size
        if self._extra_bytes > MOST_HEAD_BYTES:
            self.transport.abort()
