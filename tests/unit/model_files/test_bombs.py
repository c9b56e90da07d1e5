"""Small files that ask for much memory or time are refused at the cost of little.

Each is opened in a process of its own that may take 0.5 GiB and 20 s of the processor beyond what it has. Those that
are bombs to pickle, torch or yaml themselves are then opened by these, with 0.3 s: they must not get through, or they
would prove nothing here.
"""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest

from tests.unit.model_files.opcodes import (
    SHARED,
    called,
    number,
    pickled,
    storage,
    tensor,
    text,
    torch_legacy,
    torch_zip,
    twice_and_twice,
)
from tests.waiting import PATIENCE

READER = """
import json, os, pickle, resource, signal, sys
from pathlib import Path
import psutil, torch, yaml
from tensormask_server.model_files.checkpoint import load_checkpoint
from tensormask_server.network.config import load_config

torch.set_num_threads(1)
UNGUARDED = {
    ".pkl": lambda path: pickle.load(path.open("rb"), encoding="latin1"),
    ".pth": lambda path: torch.load(path, weights_only=True),
    ".yaml": lambda path: yaml.safe_load(path.open()),
}

def opened(read, path, seconds):
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.setitimer(signal.ITIMER_PROF, seconds)  # of the processor, whatever else the machine does
        limit = psutil.Process().memory_info().vms + (1 << 29)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            read(path)
            answer = "read"
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(sender, answer.encode()[:2000])
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as file:
        answer = file.read()
    os.waitpid(pid, 0)
    return answer or "killed"

for path in map(Path, sys.argv[1:]):
    guarded = opened(load_config if path.suffix == ".yaml" else load_checkpoint, path, 20)
    bomb = path.name.startswith("bomb-")
    print(json.dumps([path.name, guarded, opened(UNGUARDED[path.suffix], path, 0.3) if bomb else None]), flush=True)
"""


@dataclass(frozen=True)
class Bomb:
    content: bytes
    named: str  # what the refusal tells
    suffix: str = ".pkl"
    unguarded: bool = True  # it goes off in pickle, torch or yaml themselves; False: in what could be done next


def shared_dicts() -> bytes:
    """A dict of the same dict twice, of the same dict twice, …"""
    level = pickle.EMPTY_DICT + pickle.BINPUT + b"\x01"
    for _ in range(SHARED):
        level += pickle.POP + b"}(" + text("a") + b"h\x01" + text("b") + b"h\x01" + pickle.SETITEMS + b"q\x01"
    return level


def many_times(count: int) -> bytes:
    """One array of 200 kB under many names."""
    array = pickle.dumps(np.zeros(50_000, np.float32), 2)[2:-1]
    names = b"".join(text(f"w{i}") + b"h\xff" for i in range(count))
    return pickled(text("w") + array + pickle.BINPUT + b"\xff", names)


def encoded_many_times(count: int) -> bytes:
    """The same 200 kB of text turned to bytes again and again."""
    call = called("_codecs", "encode", b"h\xff", text("latin1"))
    first = text("a" * 200_000) + pickle.BINPUT + b"\xff"
    return pickled(text("w") + pickle.EMPTY_LIST + pickle.MARK + first + call * count + pickle.APPENDS)


def one_storage_under_many_names(count: int) -> bytes:
    file = BytesIO(torch_zip(pickled(), {"weights/data/0": bytes(200_000)}))
    with zipfile.ZipFile(file, "a") as archive:
        first = archive.getinfo("weights/data/0")
        for number in range(1, count):
            entry = zipfile.ZipInfo(f"weights/data/{number}")
            entry.file_size = entry.compress_size = first.file_size
            entry.CRC, entry.header_offset = first.CRC, first.header_offset
            archive.filelist.append(entry)
        archive._didModify = True  # type: ignore[attr-defined]  # so that the directory is written again
    return file.getvalue()


def yaml_levels(first: str, level: str, use: str) -> bytes:
    lines = [f"k0: &a0 {first}"]
    lines += [f"k{n}: &a{n} {level.format(f'*a{n - 1}')}" for n in range(1, SHARED + 1)]
    return "\n".join([*lines, use.format(f"*a{SHARED}")]).encode()


def in_bytes(content: bytes) -> bytes:
    return pickle.BINBYTES + len(content).to_bytes(4, "little") + content


def loaded_many_times(count: int) -> bytes:
    """A storage of 200 kB from the same bytes again and again."""
    content = in_bytes(torch_legacy(storage("0", 50_000, b"N") + b".", {"0": bytes(200_000)}))
    first = content + pickle.BINPUT + b"\xff" + pickle.POP
    return first + called("torch.storage", "_load_from_bytes", b"h\xff") * count


HUGE_STORAGE = torch_legacy(storage("0", 1 << 40, b"N") + b".", {"0": bytes(16)})
DTYPE = called("numpy", "dtype", text("f4"))
RECONSTRUCT = "numpy.core.multiarray", "_reconstruct"
NDARRAY = b"cnumpy\nndarray\n"
YEARS = twice_and_twice()
BOMBS = {
    "a tuple as a key": Bomb(pickled(YEARS, b"N"), "a tuple as a key"),
    "a tuple as a key of a dict of protocol 0": Bomb(b"(" + YEARS + b"Nd.", "a tuple as a key"),
    "a tuple as an OrderedDict's key": Bomb(
        called("collections", "OrderedDict", b"](](" + YEARS + b"Nee") + b".", "a tuple as a key"
    ),
    "a tuple in a set": Bomb(b"\x80\x04\x8f(" + YEARS + b"\x90.", "an object or a set"),
    "a tuple in a frozenset": Bomb(b"\x80\x04(" + YEARS + b"\x91.", "an object or a set"),
    "dicts that share dicts": Bomb(pickled(text("w"), shared_dicts()), "entry 'w' is a dict", unguarded=False),
    "dicts that share dicts beside the model": Bomb(
        b"}" + text("x") + shared_dicts() + b"s.", 'no "model"', unguarded=False
    ),
    "a type that is a tuple": Bomb(called("numpy", "dtype", YEARS) + b".", "an array of type tuple", unguarded=False),
    "a codec that is a tuple": Bomb(called("_codecs", "encode", text("x"), YEARS) + b".", "a tuple", unguarded=False),
    "a byte order that is a tuple": Bomb(
        DTYPE + b"(K\x03" + YEARS + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb.", "a byte order", unguarded=False
    ),
    "a function that is a tuple": Bomb(YEARS + b")R.", "'tuple' object is not callable", unguarded=False),
    "a state that is a tuple": Bomb(called(*RECONSTRUCT) + YEARS + b"b.", "not a pickle of arrays", unguarded=False),
    "an array of 64 GiB without its numbers": Bomb(
        pickled(text("w"), called(*RECONSTRUCT, NDARRAY, number(1 << 36) + b"\x85", text("b"))), "NoneType"
    ),
    "bytes of 1 TiB that are not there": Bomb(
        b"\x80\x04" + pickle.BINBYTES8 + (1 << 40).to_bytes(8, "little") + b"x.", "is cut short"
    ),
    "a bytearray of 1 TiB that is not there": Bomb(
        b"\x80\x05" + pickle.BYTEARRAY8 + (1 << 40).to_bytes(8, "little") + b"x.", "is cut short"
    ),
    "a bytearray of 2 GiB that is not there": Bomb(
        b"\x80\x05" + pickle.BYTEARRAY8 + (1 << 31).to_bytes(8, "little") + b"x.", "is cut short"
    ),
    "a frame of 1 TiB": Bomb(b"\x80\x04" + pickle.FRAME + (1 << 40).to_bytes(8, "little") + b"}.", 'no "model"'),
    "an array under many names": Bomb(many_times(20_000), "more bytes than the file", unguarded=False),
    "bytes made again and again": Bomb(encoded_many_times(20_000), "4 times the bytes of the file"),
    "a huge memo": Bomb(b"\x80\x02}" + pickle.LONG_BINPUT + b"\xff\xff\xff\x7f.", 'no "model"'),
    "deep": Bomb(b"(" * 100_000 + b"t" * 100_000 + b".", "holds a tuple", unguarded=False),
    "a bytearray in a torch file": Bomb(
        torch_zip(pickled(text("w"), called("builtins", "bytearray", number(1 << 40)))), "builtins.bytearray", ".pth"
    ),
    "a tuple as a key in a torch file": Bomb(torch_zip(pickled(YEARS, b"N")), "a tuple as a key", ".pth"),
    "a tuple as a key in an old torch file": Bomb(torch_legacy(pickled(YEARS, b"N"), {}), "a tuple as a key", ".pth"),
    "a storage that is not made": Bomb(
        torch_zip(pickled(text("w"), called("torch", "FloatTensor", number(1 << 40)))), "torch.FloatTensor", ".pth"
    ),
    "a storage type that is called": Bomb(
        torch_zip(pickled(text("w"), called("torch", "FloatStorage", number(1 << 40)))),
        "it makes a storage",
        ".pth",
        False,
    ),
    "a storage longer than its file": Bomb(
        torch_zip(pickled(text("w"), tensor(storage("0", 1 << 40), 1)), {"weights/data/0": bytes(16)}),
        "its storage 0 has 16 bytes",
        ".pth",
        unguarded=False,
    ),
    "a storage longer than its old file": Bomb(
        torch_legacy(pickled(text("w"), tensor(storage("0", 1 << 40, b"N"), 1)), {"0": bytes(16)}),
        "is cut short: it has ",
        ".pth",
    ),
    "a tensor longer than its storage": Bomb(
        torch_zip(pickled(text("w"), tensor(storage("0", 4), 1 << 40)), {"weights/data/0": bytes(16)}),
        "out of bounds",
        ".pth",
        unguarded=False,
    ),
    "a tensor longer than its old storage": Bomb(
        torch_legacy(pickled(text("w"), tensor(storage("0", 4, b"N"), 1 << 40)), {"0": bytes(16)}),
        "out of bounds",
        ".pth",
    ),
    "a tensor from before its storage": Bomb(
        torch_zip(pickled(text("w"), tensor(storage("0", 4), 4, offset=-1)), {"weights/data/0": bytes(16)}),
        "an impossible shape",
        ".pth",
        unguarded=False,
    ),
    "a tensor of one number": Bomb(
        torch_zip(pickled(text("w"), tensor(storage("0", 4), 1 << 40, stride=0)), {"weights/data/0": bytes(16)}),
        "with entry w the arrays have more bytes",
        ".pth",
        unguarded=False,
    ),
    "many tensors of one storage": Bomb(
        torch_zip(
            pickled(*(text(f"w{i}") + tensor(storage("0", 50_000), 50_000) for i in range(5_000))),
            {"weights/data/0": bytes(200_000)},
        ),
        "more bytes than the file",
        ".pth",
        unguarded=False,
    ),
    "a storage in a pickle longer than its bytes": Bomb(
        pickled(text("w"), called("torch.storage", "_load_from_bytes", in_bytes(HUGE_STORAGE))),
        "whose bytes end too early",
    ),
    "a storage in a pickle again and again": Bomb(
        pickled(text("w") + pickle.EMPTY_LIST + pickle.MARK + loaded_many_times(20_000) + pickle.APPENDS),
        "more than it has bytes for",
    ),
    "compressed": Bomb(
        torch_zip(pickled(), {"weights/data/0": bytes(1 << 24)}, zipfile.ZIP_DEFLATED),
        "it is compressed",
        ".pth",
        unguarded=False,
    ),
    "files in a file that overlap": Bomb(one_storage_under_many_names(2_000), "more bytes together", ".pth", False),
    "a header of safetensors of 1 TiB": Bomb((1 << 40).to_bytes(8, "little") + b"{}", "header", ".safetensors", False),
    "tensors of safetensors that overlap": Bomb(
        b"".join(
            [
                len(
                    header := json.dumps({n: {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]} for n in "ab"})
                ).to_bytes(8, "little"),
                header.encode(),
                bytes(8),
            ]
        ),
        "not a safetensors file",
        ".safetensors",
        False,
    ),
    "mappings merged into mappings": Bomb(
        yaml_levels("{x: 1}", "{{<<: [{0}, {0}]}}", "A: {}"), "its aliases stand for more than", ".yaml"
    ),
    "lists of the same lists": Bomb(
        yaml_levels("[x, x]", "[{0}, {0}]", "MODEL: {{META_ARCHITECTURE: {}}}"), "its aliases stand", ".yaml", False
    ),
    "a list within itself": Bomb(b"A: &a [*a]", "its aliases stand", ".yaml", False),
    "a mapping merged into itself": Bomb(b"A: &a {<<: *a}", "its aliases stand", ".yaml", False),
    "a configuration of 2 MB": Bomb(
        b"# " + b"x" * (2 << 20), "has 2097154 bytes; expected at most 65536", ".yaml", False
    ),
    "a configuration of 1 MB of brackets": Bomb(
        b"- " + (b"[" * 200 + b"]" * 200 + b"\n- ") * 2_600, "expected at most 65536", ".yaml"
    ),
    "a configuration of as many brackets as can be": Bomb(
        b"- " + (b"[" * 200 + b"]" * 200 + b"\n- ") * 162, "holds a list", ".yaml"
    ),
    "a base without end": Bomb(b"_BASE_: /dev/zero", "a character device", ".yaml", False),
    "a literal as deep as can be": Bomb(
        b'MODEL: {META_ARCHITECTURE: "' + b"-" * 60_000 + b'1"}', "META_ARCHITECTURE", ".yaml", False
    ),
    "a literal of many brackets": Bomb(
        b'MODEL: {META_ARCHITECTURE: "' + b"(" * 60_000 + b'"}', "META_ARCHITECTURE", ".yaml", False
    ),
    "a literal of many sums": Bomb(
        b'MODEL: {META_ARCHITECTURE: "1' + b"+1" * 30_000 + b'"}', "META_ARCHITECTURE", ".yaml", False
    ),
    "channels without end": Bomb(
        b"MODEL: {META_ARCHITECTURE: TensorMask, BACKBONE: {NAME: build_retinanet_resnet_fpn_backbone},"
        b" RESNETS: {STEM_OUT_CHANNELS: 1000000000000}}",
        "STEM_OUT_CHANNELS",
        ".yaml",
        False,
    ),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str | None]]:
    folder = tmp_path_factory.mktemp("bombs")
    paths = []
    for name, bomb in BOMBS.items():
        paths.append(folder / f"{'bomb-' * bomb.unguarded}{name}{bomb.suffix}")
        paths[-1].write_bytes(bomb.content)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", READER, *paths]
    reader = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert reader.returncode == 0, reader.stderr
    answers = map(json.loads, reader.stdout.splitlines())
    return {name: (guarded, unguarded) for name, (_, guarded, unguarded) in zip(BOMBS, answers, strict=True)}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_little_cost(name: str, outcomes: dict[str, tuple[str, str | None]]) -> None:
    guarded, unguarded = outcomes[name]
    assert guarded.startswith(("CheckpointError: ", "ConfigError: "))
    assert BOMBS[name].named in guarded
    if BOMBS[name].unguarded:
        assert unguarded == "killed" or "Memory" in unguarded or "memory" in unguarded, "it goes off nowhere"
