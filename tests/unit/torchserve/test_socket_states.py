"""The kernel's states of the connections of a server, whichever family of addresses they have, and of no other."""

import os
import socket
from contextlib import ExitStack

import pytest
from tensormask_server.torchserve import socket_states as module
from tensormask_server.torchserve.socket_states import ServerConnections, SocketState
from tensormask_server.torchserve.sockets import descriptors_of_sockets

from tests.strangers import holding_stranger

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
LOOPBACK = {IPV4: "127.0.0.1", IPV6: "::1"}


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=IPV6).close()
    except OSError:
        return False
    return True


with_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="there is no IPv6 here")


def connect(stack: ExitStack, server: socket.socket, family: socket.AddressFamily) -> None:
    """A connection that the server has accepted, and of which it has read three bytes."""
    client = stack.enter_context(socket.create_connection((LOOPBACK[family], server.getsockname()[1])))
    client.sendall(b"abc")
    accepted = stack.enter_context(server.accept()[0])
    assert accepted.recv(3, socket.MSG_WAITALL) == b"abc"


def own_states(port: int) -> list[SocketState]:
    return ServerConnections(os.getpid(), port).states()


@pytest.mark.parametrize("is_stopped", [False, True])
@pytest.mark.parametrize(
    ("host", "family", "clients"),
    [
        ("127.0.0.1", IPV4, [IPV4]),
        pytest.param("::1", IPV6, [IPV6], marks=with_ipv6),
        pytest.param("::", IPV6, [IPV4, IPV6], marks=with_ipv6),
    ],
)
def test_connections_are_found_also_if_the_server_listens_no_more(
    host: str, family: socket.AddressFamily, clients: list[socket.AddressFamily], is_stopped: bool
) -> None:
    with ExitStack() as stack:
        server = socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::")
        stack.enter_context(server)
        port = server.getsockname()[1]
        for each in clients:
            connect(stack, server, each)
        if is_stopped:
            server.close()
        assert [(state.port, state.received) for state in own_states(port)] == [(port, 3)] * len(clients)


@with_ipv6
def test_a_server_of_both_families_has_all_its_connections_found() -> None:
    with ExitStack() as stack:
        first = stack.enter_context(socket.create_server((LOOPBACK[IPV6], 0), family=IPV6))
        port = first.getsockname()[1]
        second = stack.enter_context(socket.create_server((LOOPBACK[IPV4], port)))
        connect(stack, first, IPV6)
        connect(stack, second, IPV4)
        assert len(own_states(port)) == 2


@pytest.mark.parametrize("is_stopped", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.2", pytest.param("::1", marks=with_ipv6)])
def test_the_same_port_of_another_address_is_another_server(host: str, is_stopped: bool) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server((LOOPBACK[IPV4], 0)))
        port = server.getsockname()[1]
        stranger = stack.enter_context(holding_stranger(host, port, 3))
        connect(stack, server, IPV4)
        if is_stopped:
            server.close()
        [own] = own_states(port)
        [strangers] = ServerConnections(stranger, port).states()
        assert own.cookie != strangers.cookie
        assert own.inode in descriptors_of_sockets(os.getpid())
        assert strangers.inode in descriptors_of_sockets(stranger)


def test_a_connection_counts_when_it_is_accepted() -> None:
    with (
        socket.create_server((LOOPBACK[IPV4], 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        client.sendall(b"abc")
        connections = ServerConnections(os.getpid(), server.getsockname()[1])
        assert connections.states() == []
        with server.accept()[0]:
            assert [state.received for state in connections.states()] == [3]


def test_descriptors_are_read_only_for_new_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def noted(pid: int) -> dict[int, int]:
        read.append(pid)
        return descriptors_of_sockets(pid)

    monkeypatch.setattr(module, "descriptors_of_sockets", noted)
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server((LOOPBACK[IPV4], 0)))
        connections = ServerConnections(os.getpid(), server.getsockname()[1])
        for count in range(3):
            for _ in range(2):
                assert len(connections.states()) == count
            assert len(read) == count + 1
            connect(stack, server, IPV4)


def test_only_families_that_have_connections_are_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    gone_through = []
    dump = module._dump

    def noted(kernel: socket.socket, family: int, port: int, states: int, *requested: int) -> object:
        if states != module.LISTEN:
            gone_through.append(family)
        return dump(kernel, family, port, states, *requested)

    monkeypatch.setattr(module, "_dump", noted)
    with socket.create_server((LOOPBACK[IPV4], 0)) as server:
        own_states(server.getsockname()[1])
    assert gone_through == [IPV4]


def test_what_the_kernel_refuses_is_an_error() -> None:
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, module.NETLINK_SOCK_DIAG) as kernel,
        pytest.raises(OSError, match="the kernel doesn't describe"),
    ):
        list(module._dump(kernel, 99, 80, module.CONNECTED))
