"""What one client connection has done so far. It is concluded from the kernel's counters only."""

from dataclasses import dataclass

from tensormask_server.torchserve.socket_states import SocketState

CONTINUE = 100  # bytes: "HTTP/1.1 100 Continue" is shorter, and every response is longer


@dataclass
class ConnectionHistory:
    """The history of one connection. Times are in seconds, on the guard's clock."""

    first: float  # when the connection was first seen
    answered: int = 0  # bytes received when the last response was seen
    carried: int = 0  # the most bytes that came before one response; almost all may belong to the next request
    read: int = 1  # acknowledged bytes when the present request began; 1 stands for the SYN
    requested_at: float | None = None  # when the first byte of the present request was seen
    responding_at: float | None = None  # when the response began
    moved: float = 0.0  # when the client last took a part of a response
    acknowledged: int = 0  # bytes
    received: int = 0  # bytes
    waiting: int = 0  # bytes
    was_full: bool = False

    @property
    def size(self) -> int:
        """Bytes received since the last response was seen."""
        return self.received - self.answered

    def note(self, state: SocketState, now: float) -> None:
        """Decides whether the connection is idle, a request arrives or waits on it, or a response is being read.

        Args:
            state: of this connection now.
            now: seconds, on the guard's clock.
        """
        received_before = self.received
        kernel_had = self.acknowledged + self.waiting  # bytes of all responses, at the last look
        was_full, self.was_full = self.was_full, state.is_full
        if state.acknowledged != self.acknowledged:
            self.moved = now
        self.acknowledged, self.received, self.waiting = state.acknowledged, state.received, state.waiting
        if self.size and self.requested_at is None:
            self.requested_at = now
        if state.waiting:
            is_next_response = not was_full and state.acknowledged >= kernel_had  # the client has read the one before
            if self.responding_at is None or is_next_response:
                self._take_as_answered(state.received)
                self.responding_at = self.moved = now
                self.read = state.acknowledged
            return
        read = state.acknowledged - self.read
        was_answered = read > 0 and state.sent_before < state.received_before
        was_answered |= read > CONTINUE and state.sent_before == state.received_before
        if self.responding_at is not None:
            self.responding_at = None
            # the client has read more than the response that was known
            was_answered &= was_full or state.acknowledged > kernel_had
            self.requested_at = now if self.size and not was_answered else None
            self.read = state.acknowledged
        elif self.requested_at is not None and not was_answered and read > CONTINUE:  # the next request has come since
            self._take_as_answered(received_before)
            self.requested_at = now if self.size else None
            self.read = state.acknowledged
        if was_answered and self.size:
            self._take_as_answered(state.received)
            self.requested_at = None
        if self.requested_at is None:
            self.read = state.acknowledged

    def _take_as_answered(self, received: int) -> None:
        """Counts the first `received` bytes as answered.

        The kernel doesn't say where a request ends. A client may have sent one request, or a small one and most of the
        next one's body. So these bytes stay counted until the connection closes, though not for each request anew.
        """
        self.carried = max(self.carried, received - self.answered)
        self.answered = received
