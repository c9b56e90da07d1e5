"""The rules of docs/ARCHITECTURE.md for what may import what, on the graph of the package's imports."""

from functools import cache

import grimp
import pytest

PACKAGE = "tensormask_server"
MOST_FLOORS = 7
# by room: the rooms and packages that it may not reach, by any chain of imports
FORBIDDEN = {
    "models": ("torch", "numpy", "model_files", "network", "prediction", "requests", "responses", "bad_request"),
    "model_files": ("network", "prediction", "requests", "responses", "bad_request"),
    "network": ("prediction", "requests", "responses", "bad_request"),
    "images": ("torch", "prediction", "requests", "responses", "bad_request"),
    "prediction": ("requests", "responses", "worker", "bad_request"),
    "responses": ("requests", "worker"),
    "requests": ("worker", "client"),
    "worker": ("torchserve", "launcher", "client", "bulk"),
    "gateway": ("network", "prediction", "requests", "responses", "worker", "client", "launcher", "torch", "PIL"),
    # that it starts without Pillow is a test of its own: videos need Pillow
    "client": ("network", "prediction", "requests", "worker", "torchserve", "torch"),
    "video": ("client", "network", "prediction", "requests", "responses", "worker", "torchserve", "torch", "http"),
    "bulk": ("archive", "client", "worker", "torchserve"),
    "torchserve": ("network", "prediction", "torch"),
    "openapi": ("network", "prediction", "worker", "torchserve", "torch", "numpy", "PIL"),
}

COMMANDS = {"health", "verify"}  # files beside the folders that may import rooms; the other files are leaves


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(PACKAGE, include_external_packages=True, exclude_type_checking_imports=True)


def rooms() -> dict[str, set[str]]:
    """From each room to the rooms that it imports. A room is a folder of the package, or a file beside the folders."""
    imports: dict[str, set[str]] = {}
    for module in graph().modules:
        if module.startswith(f"{PACKAGE}."):
            room = module.split(".")[1]
            imported = graph().find_modules_directly_imported_by(module)
            targets = {name.split(".")[1] for name in imported if name.startswith(f"{PACKAGE}.")}
            imports.setdefault(room, set()).update(targets - {room})
    return imports


def test_no_room_imports_itself_through_others_and_there_are_few_floors() -> None:
    """A room stands one floor above the highest room that it imports."""
    imports = rooms()
    floors: dict[str, int] = {}
    while len(floors) < len(imports):
        free = [room for room in imports if room not in floors and imports[room] <= floors.keys()]
        assert free, f"these import one another in a circle, or stand above one: {sorted(imports.keys() - floors)}"
        for room in free:
            floors[room] = 1 + max((floors[other] for other in imports[room]), default=0)
    assert max(floors.values()) <= MOST_FLOORS


def test_a_leaf_imports_no_room() -> None:
    imports = rooms()
    leaves = {room for room in imports if not graph().find_children(f"{PACKAGE}.{room}")} - COMMANDS
    assert {"bad_request", "options", "printable"} <= leaves
    for leaf in leaves:
        assert imports[leaf] <= leaves, f"{leaf} imports {sorted(imports[leaf] - leaves)}"


def test_no_module_imports_itself_through_others() -> None:
    """Inside of a room too."""
    for module in sorted(graph().modules):
        if module.startswith(f"{PACKAGE}."):
            assert module not in graph().find_upstream_modules(module), f"{module} is in a circle of imports"


@pytest.mark.parametrize(("room", "other"), [(room, other) for room, others in FORBIDDEN.items() for other in others])
def test_a_room_does_not_reach(room: str, other: str) -> None:
    here = f"{PACKAGE}.{room}"
    there = f"{PACKAGE}.{other}" if f"{PACKAGE}.{other}" in graph().modules else other
    assert here in graph().modules
    assert there in graph().modules
    chains = graph().find_shortest_chains(here, there)
    assert not chains, "\n".join(" imports ".join(chain) for chain in sorted(chains))


def test_only_the_handler_imports_torchserves_python() -> None:
    """TorchServe's package is called ts. For another web server only handler/tensormask_handler.py would change."""
    assert "torch" in graph().modules  # external packages are in the graph
    assert "ts" not in graph().modules
