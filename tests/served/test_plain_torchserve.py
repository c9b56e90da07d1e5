"""TorchServe's own command with the project's config.properties and an archive in model_store/."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from parity.cases import Case
from tensormask_server.java import java_home
from waiting import wait_for

from served.conftest import ROOT, Server, free_ports, request_body

TORCHSERVE = Path(sys.executable).with_name("torchserve")


def test_torchserve_start_serves_and_stop_stops(archive: Path, tmp_path: Path, case: Case) -> None:
    ports = free_ports(5)
    properties = (ROOT / "config.properties").read_text()
    for port, free in zip((8080, 8081, 8082), ports[:3], strict=True):
        assert f":{port}\n" in properties
        properties = properties.replace(f":{port}\n", f":{free}\n")
    # the tests' own server may have these
    properties += f"grpc_inference_port={ports[3]}\ngrpc_management_port={ports[4]}\n"
    (tmp_path / "config.properties").write_text(properties)
    (tmp_path / "model_store").mkdir()
    shutil.copy(archive, tmp_path / "model_store")
    environment = {**os.environ, "JAVA_HOME": str(java_home()), "TMPDIR": str(tmp_path), "TEMP": str(tmp_path)}
    options = {"cwd": tmp_path, "env": environment, "check": True, "stdout": subprocess.DEVNULL}
    start = f"{TORCHSERVE} --start --ncs --ts-config config.properties --models tiny=tiny.mar"
    subprocess.run(start.split(), **options)
    try:
        server = Server((ports[0], ports[1], ports[2]), "tiny")
        wait_for(server.is_ready, "a READY worker")
        assert len(server.post(request_body(case.picture)).tensors()["scores"]) > 3
    finally:
        subprocess.run([TORCHSERVE, "--stop", "--foreground"], **options)
