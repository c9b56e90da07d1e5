"""Weight files that would run code are refused by the name of what they ask for, and nothing of them runs.

All of them are opened in another process, which tells after each file whether its code ran. An unguarded reader then
opens it too: an attack that doesn't work there would prove nothing here.
"""

import codecs
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensormask_server.model_files.checkpoint import CheckpointError, load_checkpoint

from tests.unit.model_files import opcodes
from tests.unit.model_files.opcodes import text
from tests.waiting import PATIENCE

READER = """
import json, pickle, sys
from pathlib import Path
import torch
from tensormask_server.model_files.checkpoint import CheckpointError, load_checkpoint

def ran():
    mark = Path("ran")
    found = mark.exists()
    mark.unlink(missing_ok=True)
    return found

for path in map(Path, sys.argv[1:]):
    try:
        load_checkpoint(path)
        answer = None
    except CheckpointError as error:
        answer = str(error)
    ran_here = ran()
    try:
        if path.suffix == ".pth":
            torch.load(path, weights_only=False)
        else:
            pickle.load(path.open("rb"))
    except Exception:
        pass
    print(json.dumps([path.stem, answer, ran_here, ran()]), flush=True)
"""

COMMAND = "echo > ran"
CODE = "open('ran', 'w').close()"


@dataclass(frozen=True)
class Attack:
    content: bytes
    named: str  # what the refusal tells
    suffix: str = ".pkl"
    runs: bool = True  # in an unguarded reader; False: it is refused for its memory, or for what could come next


class Call:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., Any], *args: Any):
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def called(module: str, name: str, *args: str) -> bytes:
    """A pickle in which a function is called with some strings, by opcodes."""
    return b"\x80\x02" + opcodes.called(module, name, *map(text, args)) + b"."


def called_by_stack(module: str, name: str, *args: str) -> bytes:
    """The same, with the function's name taken from the stack and its module from the memo."""
    function = text(module) + pickle.MEMOIZE + pickle.POP + pickle.BINGET + b"\x00" + text(name) + pickle.STACK_GLOBAL
    return b"\x80\x04" + function + pickle.MARK + b"".join(map(text, args)) + pickle.TUPLE + pickle.REDUCE + b"."


class WithStateSetter:
    """Its state is set by a function of the file's choice, which Python calls with the object and the state."""

    def __reduce__(self) -> tuple[Any, ...]:
        return codecs.encode, (CODE, "latin1"), {"x": 1}, None, None, exec


def torch_file(content: Any, zipped: bool = True) -> bytes:
    file = BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def model(value: Any) -> dict[str, Any]:
    return {"model": {"head.bbox_pred.bias": np.zeros(2, np.float32), "w": value}}


SYSTEM_BY_GETATTR = opcodes.called(
    "__builtin__", "getattr", opcodes.called("__builtin__", "__import__", text("os")), text("system")
)
SYSTEM = f"{os.system.__module__}.system"
ATTACKS = {
    **{
        f"reduce-protocol-{protocol}": Attack(pickle.dumps(model(Call(os.system, COMMAND)), protocol), SYSTEM)
        for protocol in range(6)
    },
    "beside-the-model": Attack(pickle.dumps({"model": {}, "x": Call(os.system, COMMAND)}), SYSTEM),
    "eval": Attack(pickle.dumps(model(Call(eval, CODE))), "builtins.eval"),
    "exec": Attack(pickle.dumps(model(Call(exec, CODE))), "builtins.exec"),
    "python-2-eval": Attack(called("__builtin__", "eval", CODE), "__builtin__.eval"),
    "global": Attack(called("os", "system", COMMAND), "os.system"),
    "stack-global": Attack(called_by_stack("os", "system", COMMAND), "os.system"),
    "nested-name": Attack(
        called_by_stack("numpy", "lib._npyio_impl.os.system", COMMAND), "numpy.lib._npyio_impl.os.system"
    ),
    "nested-name-of-the-admitted": Attack(
        called_by_stack("collections", "OrderedDict.fromkeys.__class__.__base__.__subclasses__"),
        "collections.OrderedDict.fromkeys",
        runs=False,
    ),
    "inst": Attack(b"(" + text(COMMAND) + pickle.INST + b"os\nsystem\n.", "os.system"),
    "obj": Attack(b"(" + pickle.GLOBAL + b"os\nsystem\n" + text(COMMAND) + pickle.OBJ + b".", "os.system"),
    "numpy-runstring": Attack(
        b"\x80\x02cnumpy.testing._private.utils\nrunstring\n" + text(CODE) + b"}\x86R.",
        "numpy.testing._private.utils.runstring",
    ),
    "torch-storage": Attack(
        pickle.dumps(model(Call(torch.storage._load_from_bytes, torch_file(Call(exec, CODE), zipped=False)))),
        "builtin__.exec",
    ),
    "torch-storage-in-a-torch-file": Attack(
        torch_file(model(Call(torch.storage._load_from_bytes, torch_file(torch.ones(2))))),
        "torch.storage._load_from_bytes",
        ".pth",
        runs=False,
    ),
    "torch-storage-in-a-torch-storage": Attack(
        pickle.dumps(
            model(
                Call(
                    torch.storage._load_from_bytes,
                    torch_file(Call(torch.storage._load_from_bytes, torch_file(Call(exec, CODE))), zipped=False),
                )
            )
        ),
        "torch.storage._load_from_bytes",
    ),
    "torch-tensor-as-a-storage": Attack(
        pickle.dumps(model(Call(torch.storage._load_from_bytes, torch_file(torch.ones(2), zipped=False)))),
        "a storage of something else",
        runs=False,
    ),
    "object-array": Attack(pickle.dumps(model(np.array([Call(exec, CODE)], dtype=object))), "type 'O8'"),
    "harmless-object-array": Attack(pickle.dumps(model(np.array([None, "text"]))), "type 'O8'", runs=False),
    "structured-objects": Attack(
        pickle.dumps(model(np.array([(1.0, Call(exec, CODE))], "f8,O"))), "an array of type 'V16'"
    ),
    "codec": Attack(called("_codecs", "encode", "text", "rot13"), "the codec 'rot13'", runs=False),
    "sets-the-state-of-a-global": Attack(
        b"\x80\x02cnumpy\nndarray\n}" + text("x") + b"K\x01sb.", "sets the state", runs=False
    ),
    "sets-an-attribute-of-a-global": Attack(
        b"\x80\x02ccollections\nOrderedDict\nN}" + text("x") + b"K\x01s\x86b.", "sets the state", runs=False
    ),
    "new-object-of-a-global": Attack(b"\x80\x02cnumpy\nndarray\n)\x81.", "an object or a set", runs=False),
    "persistent-id": Attack(b"\x80\x02}" + pickle.BINPERSID + b".", "a persistent object", runs=False),
    "persistent-id-in-text": Attack(b"Pos.system\n.", "a persistent object", runs=False),
    **{
        f"extension-{number}": Attack(opcode + b"\x01\0\0\0"[:number] + b".", "an object or a set", runs=False)
        for number, opcode in ((1, pickle.EXT1), (2, pickle.EXT2), (4, pickle.EXT4))
    },
    "getattr-chain": Attack(
        pickle.dumps(model(Call(getattr, Call(__import__, "os"), "system"))), "builtins.getattr", runs=False
    ),
    "called-by-a-chain": Attack(SYSTEM_BY_GETATTR + b"(" + text(COMMAND) + b"tR.", "__builtin__.getattr"),
    "behind-the-memo": Attack(
        b"\x80\x02ccollections\nOrderedDict\nq\x010cos\nsystem\nq\x010h\x01" + text(COMMAND) + b"\x85R.", "os.system"
    ),
    "new-object": Attack(
        b"\x80\x02csubprocess\nPopen\n" + text(COMMAND) + b"\x85\x81(NK\x01t}b.", "subprocess.Popen", runs=False
    ),
    "state-setter": Attack(pickle.dumps(model(WithStateSetter())), "builtins.exec"),
    "object-array-in-an-object-array": Attack(
        pickle.dumps(model(np.array([np.array([Call(exec, CODE)], dtype=object), None], dtype=object))), "type 'O8'"
    ),
    "torch-file": Attack(torch_file({"model": Call(os.system, COMMAND)}), SYSTEM, ".pth"),
    "old-torch-file": Attack(torch_file({"model": Call(os.system, COMMAND)}, zipped=False), SYSTEM, ".pth"),
    "pickle-named-torch-file": Attack(called("os", "system", COMMAND), "os.system", ".pth"),
    "pickle-named-safetensors": Attack(called("os", "system", COMMAND), "os.system", ".safetensors"),
}

Outcome = tuple[str | None, bool, bool]  # the refusal, whether code ran, and whether it ran in the unguarded reader


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    folder = tmp_path_factory.mktemp("attacks")
    paths = [folder / f"{name}{attack.suffix}" for name, attack in ATTACKS.items()]
    for path, attack in zip(paths, ATTACKS.values(), strict=True):
        path.write_bytes(attack.content)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    reader = subprocess.run(
        [sys.executable, "-c", READER, *paths],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert reader.returncode == 0, reader.stderr
    return {name: tuple(outcome) for name, *outcome in map(json.loads, reader.stdout.splitlines())}


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_of_the_file_runs(name: str, outcomes: dict[str, Outcome]) -> None:
    _, ran, ran_unguarded = outcomes[name]
    assert not ran
    assert ran_unguarded is ATTACKS[name].runs, "the attack itself doesn't do what it is meant to"


@pytest.mark.parametrize("name", ATTACKS)
def test_the_refusal_tells_the_file_and_what_it_asked_for(name: str, outcomes: dict[str, Outcome]) -> None:
    refusal = outcomes[name][0]
    assert refusal is not None
    assert f"{name}{ATTACKS[name].suffix}" in refusal
    assert ATTACKS[name].named in refusal


@pytest.mark.parametrize(
    "name",
    [
        "torch._tensor._rebuild_from_type_v2",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_sparse_tensor",
        "torch._utils._rebuild_wrapper_subclass",
        "torch.storage.UntypedStorage",
        "torch.Tensor",
        "torch.jit.load",
        "torch.hub.load",
        "builtins.bytearray",
        "builtins.set",
        "builtins.eval",
        "os.system",
    ],
)
def test_of_torchs_own_names_only_those_of_plain_tensors_are_admitted(name: str, tmp_path: Path) -> None:
    content = called(*name.rsplit(".", 1))
    for file in (opcodes.torch_zip(content), opcodes.torch_legacy(content, {}), content):
        (tmp_path / "weights.pth").write_bytes(file)
        with pytest.raises(CheckpointError, match=f"weights.pth is refused: it asks for {name}; only numpy arrays"):
            load_checkpoint(tmp_path / "weights.pth")


def test_torchs_way_to_call_any_function_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """_rebuild_from_type_v2(function, type, arguments, state) calls the function."""
    monkeypatch.chdir(tmp_path)
    arguments = [opcodes.function("os", "system"), opcodes.function("torch", "Tensor"), text(COMMAND) + b"\x85", b"}"]
    content = b"\x80\x02" + opcodes.called("torch._tensor", "_rebuild_from_type_v2", *arguments) + b"."
    (tmp_path / "weights.pth").write_bytes(opcodes.torch_zip(content))
    with pytest.raises(CheckpointError, match="_rebuild_from_type_v2"):
        load_checkpoint(tmp_path / "weights.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pth"]
    with pytest.raises(AttributeError):  # system has returned a number, and that is no tensor
        torch.load("weights.pth", weights_only=False)
    assert (tmp_path / "ran").exists(), "the attack itself doesn't do what it is meant to"


def test_nothing_is_written_where_a_zip_says(tmp_path: Path) -> None:
    """Neither a file's name in it nor the key of a storage is taken as a path."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(8))
    files = {
        "../escaped": b"x",
        "/tmp/escaped-weights": b"x",
        "weights/../../escaped": b"x",
        "weights/data/0": bytes(8),
    }
    whole = opcodes.pickled(text("w"), opcodes.tensor(opcodes.storage("0", 2), 2))
    (folder / "weights.pth").write_bytes(opcodes.torch_zip(whole, files))
    assert torch.equal(load_checkpoint(folder / "weights.pth")["w"], torch.zeros(2))
    for key in ("../../secret", str(tmp_path / "secret")):
        content = opcodes.pickled(text("w"), opcodes.tensor(opcodes.storage(key, 2), 2))
        (folder / "other.pth").write_bytes(opcodes.torch_zip(content, files))
        with pytest.raises(CheckpointError, match="There is no item named"):
            load_checkpoint(folder / "other.pth")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["other.pth", "secret", "weights", "weights.pth"]
    assert not Path("/tmp/escaped-weights").exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins.getattr",
        "builtins.__import__",
        "copyreg._reconstructor",
        "copy_reg._reconstructor",
        "functools.partial",
        "operator.methodcaller",
        "importlib.import_module",
        "pydoc.locate",
        "runpy.run_path",
        "subprocess.Popen",
        "types.CodeType",
        "numpy.load",
        "numpy.fromfile",
        "numpy.memmap",
        "numpy.core.multiarray.fromfile",
        "numpy._core.multiarray.set_string_function",
        "numpy.core.numeric.os",
        "_codecs.decode",
        "_codecs.lookup",
        "collections.namedtuple",
        "torch.load",
        "tensormask_server.model_files.array_pickle._Array",
    ],
)
@pytest.mark.parametrize("pickled", [called, called_by_stack])
def test_no_other_name_is_admitted(name: str, pickled: Callable[..., bytes], tmp_path: Path) -> None:
    (tmp_path / "weights.pkl").write_bytes(pickled(*name.rsplit(".", 1)))
    shown = name.replace("numpy._core", "numpy.core")
    with pytest.raises(CheckpointError, match=f"weights.pkl is refused: it asks for {shown}; only numpy arrays"):
        load_checkpoint(tmp_path / "weights.pkl")
