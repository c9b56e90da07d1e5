"""The files of an archive to its .mar, by torch-model-archiver."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from tensormask_server.archive.arguments import ArchiveRequest
from tensormask_server.archive.content import BESIDE, HANDLER, MODEL_CONFIG, SERVED, WEIGHTS
from tensormask_server.archive.errors import ArchiveError
from tensormask_server.printable import one_line, printable
from tensormask_server.regular_files import write_whole

VERSION = "1.0"  # of the model: it stands in URLs, /predictions/NAME/1.0; the package's is in its __init__.py


def pack(stage: Path, request: ArchiveRequest) -> Path:
    """Runs torch-model-archiver on the files that `stage_content` wrote, and puts its archive in place.

    Returns:
        The path of the .mar.

    Raises:
        ArchiveError: the archiver failed, or the archive can't be written.
    """
    packed = stage / f"{request.name}.mar"
    archiver_temp = stage / "archiver"  # the archiver empties a folder of the model's name in its temporary folder
    archiver_temp.mkdir()
    command = [sys.executable, "-P", "-m", "model_archiver.model_packaging"]
    command += ["--model-name", request.name, "--version", VERSION, "--export-path", str(stage)]
    command += ["--serialized-file", f"{SERVED}/{WEIGHTS}", "--handler", f"{SERVED}/{HANDLER.name}"]
    command += ["--extra-files", BESIDE]
    command += ["--config-file", MODEL_CONFIG, "--archive-format", "zip-store"]
    environment = {**os.environ, "TMPDIR": str(archiver_temp)}
    result = subprocess.run(command, cwd=stage, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0 or not packed.is_file():
        reason = (result.stderr.strip() or "no reason given").splitlines()[-1]
        raise ArchiveError(f"torch-model-archiver failed: {one_line(reason, 500)}")
    archive = request.output / packed.name
    try:
        request.output.mkdir(parents=True, exist_ok=True)
        with packed.open("rb") as content:
            write_whole(archive, partial(shutil.copyfileobj, content))
    except OSError as error:
        raise ArchiveError(f"can't write {printable(archive)}: {error.strerror}") from error
    return archive
