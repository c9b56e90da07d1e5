"""The engine of an archive (.mar), for who compares archives. None of the code in the archive is run."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePath

import torch
import yaml

from tensormask_server.classes import class_names
from tensormask_server.integrity import IntegrityError, check_archive
from tensormask_server.options import HandlerOptions, OptionError, handler_options
from tensormask_server.plain_yaml import parse_plain_yaml
from tensormask_server.prediction.engine import Engine, load_engine
from tensormask_server.printable import printable
from tensormask_server.regular_files import MOST_ARCHIVE, open_regular


class ArchivedError(ValueError):
    """An archive can't be read. The message is one line."""


@dataclass(frozen=True)
class Archived:
    """What an archive serves."""

    engine: Engine
    options: HandlerOptions
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class ArchiveFiles:
    """An archive's files, unpacked."""

    config: Path
    weights: Path
    classes: Path
    options: HandlerOptions


def load_archived(archive: Path, folder: Path, device: torch.device) -> Archived:
    """Unpacks an archive and loads its engine.

    Args:
        archive: of archive.sh.
        folder: is empty, and stays as long as the engine.
        device: where the network runs. The engine openvino always runs on the CPU.

    Raises:
        ArchivedError: as `unpack_archive`.
        ValueError: as `load_engine`.
    """
    files = unpack_archive(archive, folder)
    options = files.options
    device = torch.device("cpu") if options.engine == "openvino" else device
    engine = load_engine(options.engine, files.config, files.weights, device, options.precision)
    return Archived(engine, options, class_names(engine.config.head.num_classes, files.classes))


def unpack_archive(archive: Path, folder: Path) -> ArchiveFiles:
    """Checks an archive and unpacks it.

    Args:
        archive: of archive.sh.
        folder: is empty.

    Raises:
        ArchivedError: it isn't an archive, was changed since it was made, or has options that can't be used.
    """
    name = printable(archive)
    try:
        with open_regular(archive, MOST_ARCHIVE) as file, zipfile.ZipFile(file) as content:
            check_archive(content)
            content.extractall(folder)
        settings = parse_plain_yaml((folder / "model-config.yaml").read_text())
        options = handler_options(settings.get("handler"))
        weights = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())["model"]["serializedFile"]
        if weights != PurePath(weights).name:
            raise ValueError("the weights aren't in the archive")
    except OSError as error:
        raise ArchivedError(f"can't read the archive {name}: {error.strerror or error}") from error
    except zipfile.BadZipFile as error:
        raise ArchivedError(f"{name} is no archive; expected a .mar of archive.sh") from error
    except (IntegrityError, OptionError) as error:
        raise ArchivedError(f"the archive {name} can't be used: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ArchivedError(
            f"the archive {name} has no settings that can be read; archive.sh makes it again"
        ) from error
    return ArchiveFiles(folder / "config.yaml", folder / weights, folder / "classes.txt", options)
