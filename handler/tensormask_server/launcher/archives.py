"""The archives that the command's arguments describe: one, or one of each model that is given by name."""

import argparse
from pathlib import Path

from tensormask_server.archive.arguments import archive_request
from tensormask_server.archive.errors import ArchiveError
from tensormask_server.classes import unnamed_classes
from tensormask_server.models.errors import ModelError
from tensormask_server.models.table import model_named
from tensormask_server.printable import say

OF_ONE_MODEL = ("name", "classes", "about", "sha256")  # options that hold for one model only


def made_archives(parsed: argparse.Namespace) -> list[Path]:
    """Makes the archives that the arguments describe. All arguments are checked before the first one is made.

    Raises:
        ArchiveError, ModelError: an argument, or a file that it names, can't be used.
    """
    requests = [archive_request(each) for each in _of_each_model(parsed)]
    from tensormask_server.archive.making import MAKE_ERRORS, make  # only here: importing torch takes seconds

    archives = []
    for request in requests:
        try:
            made = make(request)
        except MAKE_ERRORS as error:
            raise ArchiveError(str(error)) from error
        if note := unnamed_classes(made.config.head.num_classes, request.classes):
            say(f"Note:  {note}")
        archives.append(made.path)
    return archives


def _of_each_model(parsed: argparse.Namespace) -> list[argparse.Namespace]:
    """The arguments of each model that is given by name, as if it were the only one.

    Raises:
        ArchiveError: an option that holds for one model is given with several.
        ModelError: no model has one of the names, or a name is given twice.
    """
    names: list[str] = parsed.models or []
    if len(names) < 2:
        return [parsed]
    for name in names:
        model_named(name)
        if names.count(name) > 1:
            raise ModelError(f"--model {name} is given {names.count(name)} times; expected each model once")
    for option in OF_ONE_MODEL:
        if getattr(parsed, option) is not None:
            raise ArchiveError(
                f"--{option} is given with {len(names)} models; expected one model with it: make the archive of each "
                "with archive.sh, and serve them with --archive FILE.mar, once for each"
            )
    return [argparse.Namespace(**{**vars(parsed), "models": [name]}) for name in names]
