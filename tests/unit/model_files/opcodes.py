"""Pickles written by hand, opcode by opcode, and torch's files around them."""

import io
import pickle
import zipfile

SHARED = 60  # so often a thing holds the one before it twice: 2 to the power of that, written out


def text(value: str) -> bytes:
    return pickle.BINUNICODE + len(value.encode()).to_bytes(4, "little") + value.encode()


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return pickle.LONG1 + bytes([len(data)]) + data


def function(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def called(module: str, name: str, *args: bytes) -> bytes:
    return function(module, name) + pickle.MARK + b"".join(args) + pickle.TUPLE + pickle.REDUCE


def twice_and_twice() -> bytes:
    """A tuple of the same tuple twice, of the same tuple twice, …: a few bytes, and its hash takes years."""
    return number(1) + (pickle.BINPUT + b"\xfe" + pickle.BINGET + b"\xfe" + pickle.TUPLE2) * SHARED


def pickled(*entries: bytes) -> bytes:
    """{"model": {…}} of keys and values in turn."""
    return (
        b"\x80\x02}" + text("model") + b"}" + pickle.MARK + b"".join(entries) + pickle.SETITEMS + pickle.SETITEM + b"."
    )


def torch_zip(content: bytes, files: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """torch's zip format around a pickle, with storages and whatever else by their names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("weights/data.pkl", content)
        archive.writestr("weights/version", "3\n")
        for name, data in (files or {}).items():
            archive.writestr(name, data)
    return file.getvalue()


def torch_legacy(content: bytes, storages: dict[str, bytes]) -> bytes:
    """torch's format before zip, around a pickle and its storages of float32."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, system)]
    parts += [content, pickle.dumps(list(storages), 2)]
    parts += [(len(data) // 4).to_bytes(8, "little") + data for data in storages.values()]
    return b"".join(parts)


def storage(key: str, count: int, *more: bytes) -> bytes:
    """A persistent id of `count` float32; torch's old format has one entry more than today's."""
    parts = [text("storage"), function("torch", "FloatStorage"), text(key), text("cpu"), number(count), *more]
    return pickle.MARK + b"".join(parts) + pickle.TUPLE + pickle.BINPERSID


def tensor(storage: bytes, size: int, stride: int = 1, offset: int = 0) -> bytes:
    shape = number(size) + pickle.TUPLE1 + number(stride) + pickle.TUPLE1
    return called("torch._utils", "_rebuild_tensor_v2", storage, number(offset), shape, pickle.NEWFALSE, pickle.NONE)
