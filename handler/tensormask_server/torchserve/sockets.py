"""The connections of another process's server: no new ones, and how many have a request in hand. For Linux."""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

import psutil

PIDFD_GETFD = 438  # the system call's number, the same on every architecture
SO_ATTACH_FILTER = 26  # of Linux's socket(7)
DROP = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K, with the constant 0
TCP_INFO_SIZE = 148  # bytes, of Linux's struct tcp_info: up to the last field read here


def refuse_new(process: psutil.Process, port: int) -> bool:
    """Ends listening on this port; connections that are there stay.

    Returns:
        False where the kernel is older than 5.6, or doesn't let one process reach another's sockets: ptrace(2)'s rules.
    """
    try:
        for own in _sockets(process, port, psutil.CONN_LISTEN):
            own.shutdown(socket.SHUT_RD)
    except OSError:
        return False
    return True


def close_all_but(process: psutil.Process, ports: Collection[int]) -> bool:
    """Has the kernel drop what comes to the other ports on which this process listens, and ends their connections.

    Args:
        process: that listens.
        ports: that stay open.

    Returns:
        Whether it listens on other ports.

    Raises:
        OSError: its sockets can't be reached.
    """
    listening = {each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    for port in listening - set(ports):
        for own in _sockets(process, port, psutil.CONN_LISTEN):
            own.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, _filter_of_nothing())
        for own in _sockets(process, port, psutil.CONN_ESTABLISHED):
            with suppress(OSError):  # it has ended just now
                own.shutdown(socket.SHUT_RDWR)
    return not listening <= set(ports)


def _filter_of_nothing() -> bytes:
    """Linux's struct sock_fprog of one instruction: return 0, the number of bytes that pass."""
    address = ctypes.addressof(DROP)
    return struct.pack("HP", 1, address)


def count_in_hand(process: psutil.Process, port: int) -> int:
    """Connections on this port on which something was asked and not all answered yet.

    Where the sockets can't be reached, all connections.
    """
    try:
        return sum(_is_in_hand(own) for own in _sockets(process, port, psutil.CONN_ESTABLISHED))
    except OSError:
        return len(_connections(process, port, psutil.CONN_ESTABLISHED))


def _is_in_hand(connection: socket.socket) -> bool:
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
    (unacknowledged,) = struct.unpack_from("I", info, 24)  # segments
    (sent_before,) = struct.unpack_from("I", info, 44)  # milliseconds ago
    (received_before,) = struct.unpack_from("I", info, 52)
    (received,) = struct.unpack_from("Q", info, 128)  # bytes
    (unsent,) = struct.unpack_from("I", info, 144)
    has_asked = bool(received)  # browsers connect before they need it
    return has_asked and (bool(received_before <= sent_before) or bool(unacknowledged or unsent))


def _sockets(process: psutil.Process, port: int, status: str) -> Iterator[socket.socket]:
    """That process's own sockets: what is done to one is done to its.

    Raises:
        OSError: they can't be reached.
    """
    for connection in _connections(process, port, status):
        number = borrowed(process.pid, connection.fd)
        if number is None:
            continue
        with socket.socket(fileno=number) as own:
            yield own


def _connections(process: psutil.Process, port: int, status: str) -> list[Any]:
    connections = process.net_connections("tcp")
    return [each for each in connections if each.status == status and each.laddr.port == port]


def borrowed(pid: int, number: int) -> int | None:
    """Another process's file descriptor as one of ours, as pidfd_getfd(2) gives it.

    Args:
        pid: of the other process.
        number: of the file descriptor in it.

    Returns:
        The descriptor here, to be closed soon: until then the other's close() has no effect. None where it isn't open.

    Raises:
        OSError: the system doesn't allow it, or there is no such process.
    """
    process = os.pidfd_open(pid)
    try:
        own: int = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, number, 0)
    finally:
        os.close(process)
    if own >= 0:
        return own
    code = ctypes.get_errno()
    if code == errno.EBADF:
        return None
    raise OSError(code, os.strerror(code))
