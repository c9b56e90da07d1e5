"""Reads the kernel's state of the TCP connections of a process's server, by sock_diag(7)."""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tensormask_server.torchserve.sockets import descriptors_of_sockets

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
DUMP_REQUEST = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
ERROR, DONE = 2, 3  # types of a netlink message
LISTEN = 1 << 10  # bits of TCP's states
CONNECTED = 1 << 1 | 1 << 8  # ESTABLISHED and CLOSE_WAIT, in which a server holds something for a client
INFO, MEMORY = 2, 7  # INET_DIAG_INFO, INET_DIAG_SKMEMINFO: the two descriptions that are requested
DESCRIPTIONS = 1 << (INFO - 1) | 1 << (MEMORY - 1)
FAMILIES = (socket.AF_INET, socket.AF_INET6)
INFO_SIZE = 136  # bytes of struct tcp_info up to the last field read here
BUFFER = 1 << 18  # bytes, of a part of the response; the kernel fills at most 32 KiB


@dataclass(frozen=True)
class SocketState:
    """One connection of a server at one moment."""

    cookie: bytes  # the kernel's name for this connection, which no other connection ever has
    inode: int  # of the socket in /proc/PID/fd
    port: int  # the local one
    received: int  # bytes since it was opened
    acknowledged: int  # bytes that have reached the client since it was opened
    waiting: int  # bytes in the kernel that the client hasn't acknowledged or taken
    is_full: bool  # the kernel takes no more bytes for now, so the server may hold more of them
    received_before: int  # milliseconds since the last byte came
    sent_before: int  # milliseconds since the last byte was sent


class ServerConnections:
    """The connections that a process's server has accepted.

    Any user may listen on the same port of another address of this machine, such as 127.0.0.2. What comes there isn't
    the server's. So only those sockets count that are among the process's file descriptors.
    """

    def __init__(self, pid: int, *ports: int):
        """
        Args:
            pid: of the server's process.
            ports: the TCP ports that it listens on, in this network namespace.
        """
        self._pid = pid
        self._ports = ports
        self._known: set[bytes] = set()  # cookies of the process's own sockets at the last look

    def states(self) -> list[SocketState]:
        """Reads the state of each connection, of IPv4 and IPv6.

        To list the connections of one family, the kernel walks its table of all TCP connections. That takes a
        millisecond on a machine with 23 GB. Its table of listening sockets is short, so it is asked first.

        Raises:
            OSError: the kernel doesn't allow it, or is too old, or the process has ended.
        """
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
            listening = self._own(
                message
                for port in self._ports
                for family in FAMILIES
                for message in _dump(kernel, family, port, LISTEN)
            )
            connected = self._own(
                message
                for port in self._ports
                for family in _families(listening, port)
                for message in _dump(kernel, family, port, CONNECTED, DESCRIPTIONS)
            )
        self._known = {_cookie(message) for message in (*listening, *connected)}
        return [_state(message) for message in connected]

    def _own(self, messages: Iterable[bytes]) -> list[bytes]:
        """The messages about sockets of the process. Its descriptors are read only if there is an unknown socket."""
        accepted = [message for message in messages if _inode(message)]
        if any(_cookie(message) not in self._known for message in accepted):
            inodes = descriptors_of_sockets(self._pid)
            self._known.update(_cookie(message) for message in accepted if _inode(message) in inodes)
        return [message for message in accepted if _cookie(message) in self._known]


def _families(listening: Iterable[bytes], port: int) -> list[int]:
    """The address families in which a server may have connections to a port."""
    families = {message[0] for message in listening if _port(message) == port}
    return sorted(families) or list(FAMILIES)  # connections outlive the socket that listens


def _dump(kernel: socket.socket, family: int, port: int, states: int, requested: int = 0) -> Iterator[bytes]:
    """Yields the kernel's messages, without their headers, about a local port's sockets that are in these states."""
    any_socket = struct.pack("!HH", port, 0) + bytes(36) + b"\xff" * 8  # struct inet_diag_sockid
    query = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, requested, states) + any_socket
    kernel.send(struct.pack("=IHHII", 16 + len(query), SOCK_DIAG_BY_FAMILY, DUMP_REQUEST, 0, 0) + query)
    while True:
        part = kernel.recv(BUFFER)
        at = 0
        while at < len(part):
            length, message_type = struct.unpack_from("=IH", part, at)
            if message_type == DONE:
                return
            if message_type == ERROR:
                (number,) = struct.unpack_from("=i", part, at + 16)
                raise OSError(-number, "the kernel doesn't describe TCP connections")
            yield part[at + 16 : at + length]
            at += length + 3 & ~3


def _port(message: bytes) -> int:
    (port,) = struct.unpack_from("!H", message, 4)  # here and below: struct inet_diag_msg
    return int(port)


def _cookie(message: bytes) -> bytes:
    return message[44:52]


def _inode(message: bytes) -> int:
    """The socket's inode; 0 while its server hasn't accepted the connection."""
    (inode,) = struct.unpack_from("=I", message, 68)
    return int(inode)


def _state(message: bytes) -> SocketState:
    info, memory = b"", bytes(36)
    at = 72
    while at + 4 <= len(message):
        length, attribute = struct.unpack_from("=HH", message, at)
        if attribute == INFO:  # struct tcp_info
            info = message[at + 4 : at + length]
        elif attribute == MEMORY:
            memory = message[at + 4 : at + length]
        at += max(4, length + 3 & ~3)
    if len(info) < INFO_SIZE:
        raise OSError(errno.ENOTSUP, "the kernel doesn't say what a TCP connection has received")
    (sent_before,) = struct.unpack_from("=I", info, 44)
    (received_before,) = struct.unpack_from("=I", info, 52)
    acknowledged, received = struct.unpack_from("=QQ", info, 120)
    send_buffer, _, queued = struct.unpack_from("=3I", memory, 12)
    (waiting,) = struct.unpack_from("=I", message, 60)
    return SocketState(
        cookie=_cookie(message),
        inode=_inode(message),
        port=_port(message),
        received=received,
        acknowledged=acknowledged,
        waiting=waiting,
        is_full=bool(waiting) and 2 * queued >= send_buffer,
        received_before=received_before,
        sent_before=sent_before,
    )
