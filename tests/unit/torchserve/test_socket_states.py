"""The kernel's states of the connections of a port, whichever family of addresses they have."""

import socket
from contextlib import ExitStack

import pytest
from tensormask_server.torchserve import socket_states as module
from tensormask_server.torchserve.socket_states import socket_states

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
        states = socket_states(port)
        assert [(state.port, state.received) for state in states] == [(port, 3)] * len(clients)


@with_ipv6
def test_servers_of_both_families_have_all_their_connections_found() -> None:
    with ExitStack() as stack:
        first = stack.enter_context(socket.create_server((LOOPBACK[IPV6], 0), family=IPV6))
        port = first.getsockname()[1]
        second = stack.enter_context(socket.create_server((LOOPBACK[IPV4], port)))
        connect(stack, first, IPV6)
        connect(stack, second, IPV4)
        assert len(socket_states(port)) == 2


def test_only_families_that_have_connections_are_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    gone_through = []
    dump = module._dump

    def noted(kernel: socket.socket, family: int, port: int, states: int, *requested: int) -> object:
        if states != module.LISTEN:
            gone_through.append(family)
        return dump(kernel, family, port, states, *requested)

    monkeypatch.setattr(module, "_dump", noted)
    with socket.create_server((LOOPBACK[IPV4], 0)) as server:
        socket_states(server.getsockname()[1])
    assert gone_through == [IPV4]


def test_what_the_kernel_refuses_is_an_error() -> None:
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, module.NETLINK_SOCK_DIAG) as kernel,
        pytest.raises(OSError, match="the kernel doesn't describe"),
    ):
        list(module._dump(kernel, 99, 80, module.CONNECTED))
