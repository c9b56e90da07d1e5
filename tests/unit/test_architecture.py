"""The rules of docs/ARCHITECTURE.md for what may import what, on the graph of the package's imports."""

from functools import cache

import grimp
import pytest

PACKAGE = "tensormask_server"
MOST_LAYERS = 7
# by subpackage: the subpackages and packages that it may not reach, by any chain of imports
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

COMMANDS = {"health", "verify"}  # files beside the folders that may import subpackages; the others may not


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(PACKAGE, include_external_packages=True, exclude_type_checking_imports=True)


def subpackages() -> dict[str, set[str]]:
    """From each subpackage, or module beside them, to those that it imports."""
    imports: dict[str, set[str]] = {}
    for module in graph().modules:
        if module.startswith(f"{PACKAGE}."):
            subpackage = module.split(".")[1]
            imported = graph().find_modules_directly_imported_by(module)
            targets = {name.split(".")[1] for name in imported if name.startswith(f"{PACKAGE}.")}
            imports.setdefault(subpackage, set()).update(targets - {subpackage})
    return imports


def test_no_subpackage_imports_itself_through_others_and_there_are_few_layers() -> None:
    """A subpackage is one layer above the highest one that it imports."""
    imports = subpackages()
    layers: dict[str, int] = {}
    while len(layers) < len(imports):
        free = [name for name in imports if name not in layers and imports[name] <= layers.keys()]
        assert free, f"these import one another in a circle, or stand above one: {sorted(imports.keys() - layers)}"
        for subpackage in free:
            layers[subpackage] = 1 + max((layers[other] for other in imports[subpackage]), default=0)
    assert max(layers.values()) <= MOST_LAYERS


def test_a_module_beside_the_subpackages_imports_no_subpackage() -> None:
    imports = subpackages()
    modules = {name for name in imports if not graph().find_children(f"{PACKAGE}.{name}")} - COMMANDS
    assert {"bad_request", "options", "printable"} <= modules
    for module in modules:
        assert imports[module] <= modules, f"{module} imports {sorted(imports[module] - modules)}"


def test_no_module_imports_itself_through_others() -> None:
    """Inside of a subpackage too."""
    for module in sorted(graph().modules):
        if module.startswith(f"{PACKAGE}."):
            assert module not in graph().find_upstream_modules(module), f"{module} is in a circle of imports"


@pytest.mark.parametrize(
    ("subpackage", "other"), [(subpackage, other) for subpackage, others in FORBIDDEN.items() for other in others]
)
def test_a_subpackage_does_not_reach(subpackage: str, other: str) -> None:
    here = f"{PACKAGE}.{subpackage}"
    there = f"{PACKAGE}.{other}" if f"{PACKAGE}.{other}" in graph().modules else other
    assert here in graph().modules
    assert there in graph().modules
    chains = graph().find_shortest_chains(here, there)
    assert not chains, "\n".join(" imports ".join(chain) for chain in sorted(chains))


def test_only_the_handler_imports_torchserves_python() -> None:
    """TorchServe's package is called ts. For another web server only handler/tensormask_handler.py would change."""
    assert "torch" in graph().modules  # external packages are in the graph
    assert "ts" not in graph().modules
