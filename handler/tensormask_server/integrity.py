"""Checks that an archive is as it was made, by its SHA256SUMS and by the form of its entries."""

import hashlib
import re
import stat
import struct
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

from tensormask_server.printable import printable
from tensormask_server.regular_files import MOST_ARCHIVE, open_regular

SUMS = "SHA256SUMS"
# files without a sum: SHA256SUMS itself, one that users may change, and one that torch-model-archiver adds
UNSUMMED = re.compile(r"(SHA256SUMS|model-config\.yaml|MAR-INF/MANIFEST\.json)$")
# Python writes it beside the handler of an unpacked archive; if an archive contained it, Python would run it
OWN_BYTECODE = re.compile(r"__pycache__/tensormask_handler\.[A-Za-z0-9.-]+\.pyc(\.\d+)?$")
AGAIN = "archive.sh makes it again"
MOST_ENTRIES = 10_000  # ours have a hundred
MOST_NAME = 200  # bytes of an entry's name; file systems allow a little more
MOST_SUMS = 1 << 20  # bytes of SHA256SUMS; ours has 10 kB
MOST_UNSUMMED = 1 << 16  # bytes of each file that has no sum, and that TorchServe reads whole
# the header of an entry: signature, flags, method, packed and unpacked size, lengths of the name and the extra field
LOCAL_HEADER = struct.Struct("<4s2xHH8xIIHH")
ZIP64 = 0xFFFFFFFF  # in place of a size that stands in the extra field
EXPANSION = 4  # times the archive's bytes that its entries have together, at most; ours aren't compressed
# what a file or a damaged zip raises when it is read
UNREADABLE = (OSError, KeyError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


class IntegrityError(ValueError):
    """An archive's files aren't those that were archived. The message has one line."""


def sums_of(folders: list[Path]) -> str:
    """Makes the lines of SHA256SUMS for all files in these folders. Names are relative to the folders."""
    files = {
        path.relative_to(folder).as_posix(): path for folder in folders for path in folder.rglob("*") if path.is_file()
    }
    return "".join(f"{_sha256(path)}  {name}\n" for name, path in sorted(files.items()))


def check_archive(archive: zipfile.ZipFile) -> dict[str, str]:
    """Checks an archive before anything unpacks it: that it can be unpacked safely, and that its files have their sums.

    TorchServe unpacks it with Java, which reads some archives differently from Python. So it refuses whatever the two
    might read differently: two entries of one name, names that differ only by case, links, and encryption.

    Args:
        archive: open for reading, from a file.

    Returns:
        From each file's name to its SHA-256.

    Raises:
        IntegrityError: an entry can't be unpacked safely, or as for `check_sums`.
    """
    _check_entries(archive)
    return check_sums(zipfile.Path(archive))


def check_sums(root: Path | zipfile.Path) -> dict[str, str]:
    """Checks the files of an archive, or of the folder in which it was unpacked, against their sums.

    It doesn't check model-config.yaml, which users may change. A folder may also hold the handler's bytecode, which
    Python writes there. An archive may not.

    Args:
        root: the archive, or the folder.

    Returns:
        From each file's name to its SHA-256.

    Raises:
        IntegrityError: a file is missing, changed or added, or there are no sums.
    """
    try:
        lines = _read(root / SUMS, MOST_SUMS).decode().split("\n")
        sums = {name: sha256 for sha256, name in (line.split("  ", 1) for line in lines if line)}
    except UNREADABLE as error:
        raise IntegrityError(
            f"it has no {SUMS} that can be read: it is damaged or of another version; {AGAIN}"
        ) from error
    added = sorted(name for name in _names(root) if name not in sums and not UNSUMMED.match(name))
    if isinstance(root, Path):
        added = [name for name in added if not OWN_BYTECODE.match(name)]
    if added:
        raise IntegrityError(f"it has the file {printable(added[0])}, which isn't in {SUMS}; {AGAIN}")
    for name, expected in sums.items():
        try:
            found = _sha256(root / name)
        except UNREADABLE as error:
            raise IntegrityError(f"{printable(name)} is missing or damaged; {AGAIN}") from error
        if found != expected:
            raise IntegrityError(
                f"{printable(name)} isn't what was archived: its SHA-256 is {found[:12]}… and not "
                f"{printable(expected[:12])}…; {AGAIN}"
            )
    return sums


def _check_entries(archive: zipfile.ZipFile) -> None:
    """Checks the entries of an archive.

    Raises:
        IntegrityError: an entry can't be unpacked safely.
    """
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise IntegrityError(f"it has {len(entries)} entries; expected at most {MOST_ENTRIES}; {AGAIN}")
    # from a name, as file systems without case know it, to the name and whether it is a folder; with all parents
    places: dict[str, tuple[str, bool]] = {}
    for entry in entries:
        _check_entry(entry)
        path = PurePosixPath(entry.filename)
        for place in (path, *path.parents[:-1]):
            is_folder = place != path or entry.is_dir()
            known = places.setdefault(unicodedata.normalize("NFC", str(place)).casefold(), (str(place), is_folder))
            if known != (str(place), is_folder):
                names = f"{printable(known[0])} and {printable(place)}"
                raise IntegrityError(f"its entries {names} have names that some file systems take for one; {AGAIN}")
    [(name, count)] = Counter(entry.filename for entry in entries).most_common(1) or [("", 0)]
    if count > 1:
        raise IntegrityError(f"it has {count} entries {printable(name)}; expected one of each name; {AGAIN}")
    size = _check_places(archive)
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > EXPANSION * size + (1 << 20):
        raise IntegrityError(
            f"its entries have {unpacked} bytes unpacked, more than {EXPANSION} times the {size} bytes of the archive; "
            f"{AGAIN}"
        )


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename  # Python's `filename` ends before a NUL
    its_entry = f"its entry {printable(name)}"
    parts = name.removesuffix("/").split("/")
    if name != entry.filename or not name.isprintable() or "\\" in name or ":" in name:
        raise IntegrityError(f"{its_entry} has a name with a backslash, a colon or a control character; {AGAIN}")
    if any(part in ("", ".", "..") for part in parts):
        raise IntegrityError(f'{its_entry} has an absolute name, or one with an empty part, "." or ".."; {AGAIN}')
    if len(name.encode()) > MOST_NAME:
        size = len(name.encode())
        raise IntegrityError(f"{its_entry} has a name of {size} bytes; expected at most {MOST_NAME}; {AGAIN}")
    mode = stat.S_IFMT(entry.external_attr >> 16)
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        file_type = "a link" if mode == stat.S_IFLNK else "neither a file nor a folder"
        raise IntegrityError(f"{its_entry} is {file_type}; expected only files and folders; {AGAIN}")
    if entry.flag_bits & 0x1:
        raise IntegrityError(f"{its_entry} is encrypted; {AGAIN}")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        method = f"compressed by method {entry.compress_type}"
        raise IntegrityError(f"{its_entry} is {method}, which Java doesn't read; {AGAIN}")
    if UNSUMMED.match(name) and name != SUMS and entry.file_size > MOST_UNSUMMED:
        raise IntegrityError(f"{its_entry} has {entry.file_size} bytes; expected at most {MOST_UNSUMMED}; {AGAIN}")


def _check_places(archive: zipfile.ZipFile) -> int:
    """Checks that Java, which reads from start to end, finds the same entries as the list at the archive's end.

    Returns:
        The archive's size in bytes.

    Raises:
        IntegrityError: other data is before, between or after the entries, or an entry's two headers differ.
    """
    file = archive.fp
    assert file is not None
    place = 0
    for entry in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
        its_entry = f"its entry {printable(entry.filename)}"
        file.seek(entry.header_offset)
        header = file.read(LOCAL_HEADER.size)
        if entry.header_offset != place or len(header) < LOCAL_HEADER.size:
            raise IntegrityError(f"{its_entry} doesn't begin where the entry before it ends; {AGAIN}")
        signature, flags, method, packed, unpacked, name_length, extra_length = LOCAL_HEADER.unpack(header)
        name = file.read(name_length)
        sizes = (packed, unpacked) in ((entry.compress_size, entry.file_size), (ZIP64, ZIP64))
        encoding = "utf-8" if flags & 0x800 else "cp437"
        same = name.decode(encoding, errors="replace") == entry.orig_filename and method == entry.compress_type
        if signature != b"PK\3\4" or flags & ~0x806 or not sizes or not same:
            raise IntegrityError(f"{its_entry} is described in two ways, or in one that Java doesn't read; {AGAIN}")
        place += LOCAL_HEADER.size + name_length + extra_length + entry.compress_size
    if place != archive.start_dir:
        raise IntegrityError(f"it has something else behind its last entry; {AGAIN}")
    file.seek(0, 2)
    return file.tell()


def _names(root: Path | zipfile.Path) -> list[str]:
    if isinstance(root, zipfile.Path):
        return [entry.filename for entry in root.root.infolist() if not entry.is_dir()]
    # links and pipes are included, because an archive has none
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_symlink() or not path.is_dir()]


def _read(path: Path | zipfile.Path, most: int) -> bytes:
    with path.open("rb") if isinstance(path, zipfile.Path) else open_regular(path, most) as file:
        content: bytes = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most} bytes")
    return content


def _sha256(path: Path | zipfile.Path) -> str:
    with path.open("rb") if isinstance(path, zipfile.Path) else open_regular(path, MOST_ARCHIVE) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
