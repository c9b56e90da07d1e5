"""An archive that can't be unpacked safely is refused before it is unpacked. Other files than its own are never run."""

import hashlib
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from tensormask_server.integrity import IntegrityError, check_archive

pytestmark = pytest.mark.attack(9, "archives that hide, add or exchange entries, or unpack elsewhere")

FILES = {"handler.py": b"pass\n", "package/module.py": b"1\n", "weights": bytes(5000)}
Entry = tuple[zipfile.ZipInfo, bytes]


def entry(name: str, content: bytes = b"", mode: int = stat.S_IFREG | 0o644, method: int = zipfile.ZIP_STORED) -> Entry:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    made.compress_type = method
    return made, content


def archive(*more: Entry, summed: bool = True) -> bytes:
    """A good archive with more entries. They have sums, too, so that missing sums aren't the reason for an error."""
    entries = [*(entry(name, content) for name, content in FILES.items()), *more]
    lines = {
        made.filename: hashlib.sha256(content).hexdigest() for made, content in entries if made.filename[-1:] != "/"
    }
    sums = "".join(f"{sha256}  {name}\n" for name, sha256 in lines.items() if summed or name in FILES)
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two entries of one name
        for each, content in [*entries, entry("SHA256SUMS", sums.encode()), entry("MAR-INF/MANIFEST.json", b"{}")]:
            made.writestr(each, content)
    return file.getvalue()


def check(content: bytes) -> dict[str, str]:
    with zipfile.ZipFile(BytesIO(content)) as opened:
        return check_archive(opened)


def test_a_sound_archive_passes() -> None:
    assert check(archive()).keys() == FILES.keys()
    more = [
        entry("model-config.yaml", b"minWorkers: 1\n"),
        entry("package/", mode=stat.S_IFDIR | 0o755),
        entry("Größe.txt", b"1"),
        entry("of another system", b"1", mode=0),
        entry("text", b"words " * 10, method=zipfile.ZIP_DEFLATED),
    ]
    assert check(archive(*more)).keys() == {*FILES, "model-config.yaml", "Größe.txt", "of another system", "text"}


LINK = stat.S_IFLNK | 0o777
UNSAFE: dict[str, tuple[Entry | tuple[Entry, Entry], str]] = {
    "a parent": (entry("../outside"), "its entry ../outside has an absolute name"),
    "a parent within": (entry("package/../../outside"), "package/../../outside has an absolute name"),
    "an absolute name": (entry("/etc/outside"), "its entry /etc/outside has an absolute name"),
    "a name with nothing between": (entry("package//module"), "an empty part"),
    "the folder itself": (entry("./handler"), "an empty part"),
    "Windows' parent": (entry("..\\outside"), "a backslash"),
    "a drive": (entry("C:outside"), "a colon"),
    "a line end": (entry("a\nb"), "its entry a\\nb has a name with"),
    "an escape sequence": (entry("\x1b[2J"), "its entry \\x1b[2J has a name with"),
    "a direction": (entry("\u202efig.py"), "its entry \\u202efig.py has a name with"),
    "a long name": (entry("x" * 300), "a name of 300 bytes; expected at most 200"),
    "a link": (entry("package/link", b"/etc/passwd", LINK), "its entry package/link is a link"),
    "a pipe": (entry("pipe", mode=stat.S_IFIFO | 0o644), "neither a file nor a folder"),
    "a device": (entry("device", mode=stat.S_IFCHR | 0o644), "neither a file nor a folder"),
    "two of one name": (entry("handler.py", b"evil"), "it has 2 entries handler.py"),
    "another case": (entry("Handler.py"), "handler.py and Handler.py have names that some file systems take for one"),
    "a folder in another case": (entry("PACKAGE/other.py"), "package and PACKAGE have names"),
    "a letter written in two ways": ((entry("Gr\u00f6\u00dfe"), entry("Gro\u0308\u00dfe")), "have names that some"),
    "a file that is a folder": (entry("handler.py/module.py"), "handler.py and handler.py have names"),
    "a bomb": (entry("zeros", bytes(100 << 20), method=zipfile.ZIP_DEFLATED), "bytes unpacked, more than 4 times"),
    "another method": (entry("text", b"words", method=zipfile.ZIP_LZMA), "compressed by method 14"),
    "a long configuration": (entry("model-config.yaml", b"#" * 70_000), "has 70000 bytes; expected at most 65536"),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_what_can_not_be_unpacked_safely_is_refused(name: str) -> None:
    more, said = UNSAFE[name]
    entries = more if isinstance(more[0], tuple) else (more,)
    with pytest.raises(IntegrityError) as caught:
        check(archive(*entries))
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "more.py",
        "__pycache__/tensormask_handler.cpython-311.pyc",
        "package/__pycache__/module.cpython-311.pyc",
        "MAR-INF/more.py",
        "SHA256SUMS.py",
    ],
)
def test_an_added_entry_is_refused(name: str) -> None:
    assert name in check(archive(entry(name, b"evil")))
    with pytest.raises(IntegrityError, match=f"it has the file {name}, which isn't in SHA256SUMS"):
        check(archive(entry(name, b"evil"), summed=False))


def test_ten_thousands_of_entries_are_refused() -> None:
    with pytest.raises(IntegrityError, match="it has 10505 entries; expected at most 10000"):
        check(archive(*(entry(f"{number}") for number in range(10_500))))


def first_entry_hidden(content: bytes) -> bytes:
    """As a reader from the start sees it there are all entries; the list at the end lacks one."""
    start = content.index(b"PK\1\2")
    end = content.index(b"PK\5\6")
    second = content.index(b"PK\1\2", start + 4)
    without = bytearray(content[:start] + content[second:])
    counts = without.index(b"PK\5\6") + 8
    number = struct.unpack_from("<H", without, counts)[0] - 1
    struct.pack_into("<HHI", without, counts, number, number, end - second)
    return bytes(without)


def renamed_in_place(content: bytes) -> bytes:
    return content.replace(b"handler.py", b"Handler.py", 1)


def something_before(content: bytes) -> bytes:
    return b"#!/bin/sh\n" + content


def overlapping(content: bytes) -> bytes:
    """The second entry of the list is at the first one's place."""
    second = content.index(b"PK\1\2", content.index(b"PK\1\2") + 4)
    changed = bytearray(content)
    struct.pack_into("<I", changed, second + 42, 0)
    return bytes(changed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (first_entry_hidden, "doesn't begin where the entry before it ends"),
        (renamed_in_place, "is described in two ways"),
        (something_before, "doesn't begin where"),
        (overlapping, "doesn't begin where"),
    ],
)
def test_what_java_would_unpack_and_python_does_not_see_is_refused(change: Callable[[bytes], bytes], said: str) -> None:
    with pytest.raises(IntegrityError, match=said):
        check(change(archive()))


def test_sizes_that_follow_an_entry_are_refused(tmp_path: Path) -> None:
    """As zipfile writes to a pipe: a reader from the start doesn't know where the entry ends."""

    class Pipe(BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: object) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as made:
        made.writestr("SHA256SUMS", "")
    (tmp_path / "piped.mar").write_bytes(pipe.getvalue())
    with pytest.raises(IntegrityError, match="is described in two ways"):
        check(pipe.getvalue())
