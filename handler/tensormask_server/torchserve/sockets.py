"""The sockets of another process's server, on Linux: refuses new connections, and counts those with a request."""

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
    """Stops listening on a port. The connections that exist stay open.

    Args:
        process: the server's.
        port: where it listens.

    Returns:
        False if the kernel is older than 5.6, or denies access to another process's sockets, by ptrace(2)'s rules.
    """
    try:
        for own in _sockets(process, port, psutil.CONN_LISTEN):
            own.shutdown(socket.SHUT_RD)
    except OSError:
        return False
    return True


def close_all_but(process: psutil.Process, ports: Collection[int]) -> bool:
    """Closes all other ports on which a process listens: the kernel drops what comes, and their connections end.

    Args:
        process: the server's.
        ports: the ports that stay open.

    Returns:
        Whether the process listens on other ports.

    Raises:
        OSError: the process's sockets can't be reached.
    """
    listening = {each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    for port in listening - set(ports):
        for own in _sockets(process, port, psutil.CONN_LISTEN):
            own.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, _filter_of_nothing())
        for own in _sockets(process, port, psutil.CONN_ESTABLISHED):
            with suppress(OSError):  # the client has closed it just now
                own.shutdown(socket.SHUT_RDWR)
    return not listening <= set(ports)


def _filter_of_nothing() -> bytes:
    """Linux's struct sock_fprog of one instruction: return 0, the number of bytes that pass."""
    address = ctypes.addressof(DROP)
    return struct.pack("HP", 1, address)


def count_in_hand(process: psutil.Process, port: int) -> int:
    """Counts the connections on a port that have a request without its whole response.

    If the system denies access to the sockets, counts all connections.
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
    has_request = bool(received)  # browsers open connections before they need them
    return has_request and (bool(received_before <= sent_before) or bool(unacknowledged or unsent))


def _sockets(process: psutil.Process, port: int, status: str) -> Iterator[socket.socket]:
    """Another process's sockets. They are the sockets themselves, and not copies.

    Raises:
        OSError: the system doesn't allow it.
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


def descriptors_of_sockets(pid: int) -> dict[int, int]:
    """Finds the file descriptors of a process's sockets.

    Args:
        pid: of the process.

    Returns:
        From the inode of each socket to its descriptor in that process.

    Raises:
        OSError: the system doesn't allow it, or there is no such process.
    """
    descriptors = {}
    with os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                target = os.readlink(entry.path)  # noqa: PTH115  # with paths it would take twice as long
                if target.startswith("socket:["):
                    descriptors[int(target[8:-1])] = int(entry.name)
    return descriptors


def borrowed(pid: int, number: int) -> int | None:
    """A duplicate of another process's file descriptor, by pidfd_getfd(2).

    Args:
        pid: of the other process.
        number: of the file descriptor there.

    Returns:
        The descriptor in this process. Close it soon: until then the other process's close() has no effect. None if
        the other process has no such descriptor.

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
