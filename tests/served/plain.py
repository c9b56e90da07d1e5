"""TorchServe's own command with the project's config.properties, as people start it who don't use ours."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tensormask_server.torchserve.java import java_home

from tests.served.conftest import ROOT, Server, free_ports
from tests.waiting import wait_for

TORCHSERVE = Path(sys.executable).with_name("torchserve")


@contextmanager
def plain_torchserve(archive: Path) -> Iterator[Server]:
    """`torchserve --start` with this archive, once a worker is ready. The server's state is the folder it runs in."""
    ports = free_ports(5)
    properties = (ROOT / "config.properties").read_text()
    for port, free in zip((8080, 8081, 8082), ports[:3], strict=True):
        assert f":{port}\n" in properties
        properties = properties.replace(f":{port}\n", f":{free}\n")
    # the tests' own server may have these
    properties += f"grpc_inference_port={ports[3]}\ngrpc_management_port={ports[4]}\n"
    with tempfile.TemporaryDirectory(prefix="tm-plain-") as temporary:
        folder = Path(temporary)
        (folder / "config.properties").write_text(properties)
        (folder / "model_store").mkdir()
        shutil.copy(archive, folder / "model_store")
        environment = {**os.environ, "JAVA_HOME": str(java_home()), "TMPDIR": temporary, "TEMP": temporary}
        start = f"{TORCHSERVE} --start --ncs --ts-config config.properties --models tiny={archive.name}"
        run = {"cwd": folder, "env": environment, "check": True, "stdout": subprocess.DEVNULL}
        subprocess.run(start.split(), **run)
        try:
            server = Server((ports[0], ports[1], ports[2]), "tiny", state=folder)
            wait_for(server.is_ready, "a READY worker")
            yield server
        finally:
            subprocess.run([TORCHSERVE, "--stop", "--foreground"], **run)
