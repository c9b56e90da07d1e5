"""Reads an archive's name and settings, and checks that it can be served."""

import re
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tensormask_server.integrity import IntegrityError
from tensormask_server.integrity import check_archive as check_entries
from tensormask_server.options import OptionError, handler_options
from tensormask_server.plain_yaml import parse_plain_yaml
from tensormask_server.printable import one_line, printable
from tensormask_server.regular_files import MOST_ARCHIVE, open_regular
from tensormask_server.torchserve.properties import DEFAULT_SIZE, PropertiesError, number_property
from tensormask_server.yaml_bases import MAX_BYTES

LONGEST_NAME = 100
SPARE = 16 << 20  # bytes that stay free on the disk to which an archive is unpacked


@dataclass(frozen=True)
class ServedModel:
    """TorchServe's settings of the model in an archive."""

    workers: int = 1
    batch_size: int = 1
    response_timeout: int = 120  # seconds


class ArchiveUnusable(Exception):
    """An archive can't be served. The message has one line."""


def model_name(archive: Path) -> str:
    """The model's name in URLs: the file's name, with "_" in place of characters that aren't letters, digits or "-".

    "my model (1).mar" is served as "my_model_1".
    """
    name = re.sub(r"[^A-Za-z0-9-]+", "_", archive.name.removesuffix(".mar"))
    return name.strip("_-")[:LONGEST_NAME] or "model"


def served_model(archive: Path) -> ServedModel:
    """Reads the settings of an archive's model.

    Returns:
        The settings. They are the defaults if the archive can't be read: `check_archives` says what is wrong with it.
    """
    try:
        with open_regular(archive, MOST_ARCHIVE) as file, zipfile.ZipFile(file) as content:
            settings = archived_yaml(content, "model-config.yaml")
        workers = max(int(settings.get(key) or 1) for key in ("minWorkers", "maxWorkers"))
        batch_size, timeout = int(settings.get("batchSize") or 1), int(settings.get("responseTimeout") or 120)
        return ServedModel(max(1, workers), max(1, batch_size), max(1, timeout))
    except (
        OSError,
        zipfile.BadZipFile,
        KeyError,
        AttributeError,
        TypeError,
        ValueError,
        OverflowError,
        yaml.YAMLError,
    ):
        return ServedModel()


def archived_yaml(archive: zipfile.ZipFile, name: str) -> Any:
    """Reads a YAML file of an archive that may not be checked yet, with limits of its bytes, depth and aliases.

    Raises:
        KeyError: there is no such file.
        ValueError, yaml.YAMLError: it isn't YAML, or stands for too much.
        What zipfile raises for a damaged entry.
    """
    with archive.open(name) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{name} has more than {MAX_BYTES} bytes")
    try:
        return parse_plain_yaml(content.decode())
    except RecursionError as error:
        raise ValueError(f"{name} is nested too deeply") from error


def check_archives(archives: Sequence[Path], properties: Mapping[str, str], folder: Path) -> None:
    """Checks that archives can be served together, without starting anything.

    Args:
        archives: the .mar files, at least one.
        properties: TorchServe's.
        folder: the archives will be unpacked on its disk.

    Raises:
        ArchiveUnusable: an archive isn't there or is damaged, two have the same name, their responses can be too large,
            or the disk is too small.
    """
    check_names_differ(archives)
    sizes = [_checked_size(archive, properties) for archive in archives]
    _check_disk(sum(sizes), "archive takes" if len(sizes) == 1 else "archives take", folder)


def check_names_differ(archives: Sequence[Path]) -> None:
    """Checks that each archive has a name of its own, as URLs need it.

    Raises:
        ArchiveUnusable: two archives would be served under one name.
    """
    by_name: dict[str, Path] = {}
    for archive in archives:
        name = model_name(archive)
        if name in by_name:
            raise ArchiveUnusable(
                f"{printable(by_name[name])} and {printable(archive)} would both be served as {name}; expected "
                "archives of different names: rename one of the files"
            )
        by_name[name] = archive


def _checked_size(archive: Path, properties: Mapping[str, str]) -> int:
    """The bytes of an archive's files once they are unpacked.

    Raises:
        ArchiveUnusable: there is no archive, it is damaged, or its responses can be too large.
    """
    _check_is_there(archive)
    name = printable(archive)
    try:
        with open_regular(archive, MOST_ARCHIVE) as file, zipfile.ZipFile(file) as content:
            content.getinfo("MAR-INF/MANIFEST.json")
            check_entries(content)
            _check_responses_fit(content, properties)
            return sum(entry.file_size for entry in content.infolist())
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError, OverflowError) as error:
        raise ArchiveUnusable(f"{name} is not a model archive, or damaged; archive.sh makes one") from error
    except OSError as error:
        raise ArchiveUnusable(f"can't read {name}: {one_line(error.strerror or error)}") from error
    except IntegrityError as error:
        raise ArchiveUnusable(f"{name} can't be served: {one_line(error)}") from error


def _check_is_there(archive: Path) -> None:
    if archive.exists() and not archive.is_dir():
        return
    folder = archive if archive.is_dir() else archive.parent
    others = ", ".join(printable(path) for path in sorted(folder.glob("*.mar"))[:5])
    hint = f"there {'are' if ', ' in others else 'is'} {others}" if others else "archive.sh makes one"
    raise ArchiveUnusable(f"there is no archive {printable(archive)}; {hint}")


def _check_responses_fit(content: zipfile.ZipFile, properties: Mapping[str, str]) -> None:
    """Checks that TorchServe passes on the largest responses. A response that is too large would end its worker.

    Raises:
        ArchiveUnusable: it doesn't.
        IntegrityError: the settings aren't YAML, or stand for so much that a worker would never come to their end.
    """
    try:
        settings = archived_yaml(content, "model-config.yaml")
    except KeyError:
        return  # TorchServe has defaults
    except (ValueError, yaml.YAMLError) as error:
        raise IntegrityError(
            f"its model-config.yaml can't be read: {one_line(error)}; archive.sh makes it again"
        ) from error
    try:
        largest = handler_options(settings["handler"]).limits.max_response_bytes
    except (KeyError, TypeError, OptionError):
        return  # the worker reports what is wrong with it
    try:
        passing = number_property(properties, "max_response_size", DEFAULT_SIZE)
    except PropertiesError as error:
        raise ArchiveUnusable(str(error)) from error
    if passing <= largest:
        found = f"is {passing}" if "max_response_size" in properties else f"isn't there, which means {passing},"
        raise ArchiveUnusable(
            f"max_response_size {found} in TorchServe's properties; expected more than the {largest} bytes of the "
            "archive's --max-response-bytes: change config.properties, or archive with a smaller limit"
        )


def _check_disk(size: int, taken: str, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise ArchiveUnusable(
            f"the disk of {folder} has {free / 1e6:.0f} MB free, and the unpacked {taken} {size / 1e6:.0f} MB; "
            f"expected {(size + SPARE) / 1e6:.0f} MB: free some, or set XDG_STATE_HOME to a folder on another disk"
        )
