"""The kernel's states of the connections of a port, whichever family of addresses they have."""

import socket
from contextlib import ExitStack

import pytest
from tensormask_server.torchserve import socket_states as module
from tensormask_server.torchserve.socket_states import socket_states

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def listening(stack: ExitStack, host: str, family: socket.AddressFamily, port: int = 0) -> socket.socket:
    try:
        is_dual = host == "::"
        server = socket.create_server((host, port), family=family, dualstack_ipv6=is_dual)
    except OSError as error:
        pytest.skip(f"no {family.name} here: {error.strerror}")
    return stack.enter_context(server)


@pytest.mark.parametrize("is_stopped", [False, True])
@pytest.mark.parametrize(
    ("host", "family", "clients"),
    [
        ("127.0.0.1", socket.AF_INET, [socket.AF_INET]),
        ("::1", socket.AF_INET6, [socket.AF_INET6]),
        ("::", socket.AF_INET6, [socket.AF_INET, socket.AF_INET6]),
    ],
)
def test_connections_are_found_also_if_the_server_listens_no_more(
    host: str, family: socket.AddressFamily, clients: list[socket.AddressFamily], is_stopped: bool
) -> None:
    with ExitStack() as stack:
        server = listening(stack, host, family)
        port = server.getsockname()[1]
        for each in clients:
            client = stack.enter_context(socket.create_connection((LOOPBACK[each], port)))
            client.sendall(b"abc")
            stack.enter_context(server.accept()[0])
        if is_stopped:
            server.close()
        states = socket_states(port)
        assert [(state.port, state.received) for state in states] == [(port, 3)] * len(clients)


def test_servers_of_both_families_have_all_their_connections_found() -> None:
    with ExitStack() as stack:
        port = listening(stack, "127.0.0.1", socket.AF_INET).getsockname()[1]
        listening(stack, "::1", socket.AF_INET6, port)
        for host in LOOPBACK.values():
            stack.enter_context(socket.create_connection((host, port)))
        assert len(socket_states(port)) == 2


def test_only_families_that_have_connections_are_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    gone_through = []
    dump = module._dump

    def noted(kernel: socket.socket, family: int, port: int, states: int, *requested: int) -> object:
        if states != module.LISTEN:
            gone_through.append(family)
        return dump(kernel, family, port, states, *requested)

    monkeypatch.setattr(module, "_dump", noted)
    with ExitStack() as stack:
        socket_states(listening(stack, "127.0.0.1", socket.AF_INET).getsockname()[1])
    assert gone_through == [socket.AF_INET]


def test_what_the_kernel_refuses_is_an_error() -> None:
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, module.NETLINK_SOCK_DIAG) as kernel,
        pytest.raises(OSError, match="the kernel doesn't describe"),
    ):
        list(module._dump(kernel, 99, 80, module.CONNECTED))
