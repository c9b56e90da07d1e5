"""The SHA-256 of an archive's files, kept in it as sha256sum writes them: what is served is what was archived."""

import hashlib
import re
import zipfile
from pathlib import Path

SUMS = "SHA256SUMS"
# the sums, what users may change, what torch-model-archiver adds, and what Python keeps beside modules
UNSUMMED = re.compile(r"SHA256SUMS$|model-config\.yaml$|MAR-INF/|(.*/)?__pycache__/")
AGAIN = "archive.sh makes it again"


class IntegrityError(ValueError):
    """An archive whose files aren't those that were archived, in one line."""


def sums_of(folders: list[Path]) -> str:
    """The lines of all files in these folders, each with its name in its folder."""
    files = {
        path.relative_to(folder).as_posix(): path for folder in folders for path in folder.rglob("*") if path.is_file()
    }
    return "".join(f"{_sha256(path)}  {name}\n" for name, path in sorted(files.items()))


def check_sums(root: Path | zipfile.Path) -> dict[str, str]:
    """Checks an archive, or the folder that it was unpacked in; not model-config.yaml, which users may change.

    Returns:
        The SHA-256 of each file by its name.

    Raises:
        IntegrityError: a file is missing, another one or one too many, or there are no sums.
    """
    try:
        lines = (root / SUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: sha256 for sha256, name in (line.split("  ", 1) for line in lines)}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise IntegrityError(
            f"it has no {SUMS} that can be read: it is damaged or of another version; {AGAIN}"
        ) from error
    more = sorted(name for name in _names(root) if name not in sums and not UNSUMMED.match(name))
    if more:
        raise IntegrityError(f"{more[0]} isn't of what was archived; {AGAIN}")
    for name, expected in sums.items():
        try:
            found = _sha256(root / name)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise IntegrityError(f"{name} is missing or damaged; {AGAIN}") from error
        if found != expected:
            raise IntegrityError(
                f"{name} isn't what was archived: its SHA-256 is {found[:12]}… and not {expected[:12]}…; {AGAIN}"
            )
    return sums


def _names(root: Path | zipfile.Path) -> list[str]:
    if isinstance(root, zipfile.Path):
        return [entry.filename for entry in root.root.infolist() if not entry.is_dir()]
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]


def _sha256(path: Path | zipfile.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
