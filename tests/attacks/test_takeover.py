"""Attempts to have the server run a stranger's code: workflows, the folder that it is started in, its class path."""

import http.server
import json
import os
import socket
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from reference.cases import Case
from tests.served.conftest import Response, Server, launched, request_body, send
from tests.served.plain import plain_torchserve
from tests.served.test_launcher import assert_one_line, run_launcher

SPECIFICATION = """
models:
  min-workers: 1
  max-workers: 1
  m:
    url: tiny.mar
dag:
  before: [m]
"""
MANIFEST = {
    "createdOn": "01/01/2026 00:00:00",
    "archiverVersion": "0.2.15",
    "workflow": {
        "workflowName": "evil",
        "workflowVersion": "1.0",
        "specFile": "specification.yaml",
        "handler": "evil_handler.py",
    },
}


class Trap:
    """Code of a stranger, in a folder: it leaves a file where it has run."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._sign = folder / "it-has-run"
        self.code = f"open({str(self._sign)!r}, 'w').close()\n"

    @property
    def has_run(self) -> bool:
        return self._sign.exists()

    def workflow(self, path: Path) -> Path:
        """A workflow archive whose Python code TorchServe runs when it is registered."""
        with zipfile.ZipFile(path, "w") as content:
            content.writestr("WAR-INF/MANIFEST.json", json.dumps(MANIFEST))
            content.writestr("specification.yaml", SPECIFICATION)
            content.writestr("evil_handler.py", f"{self.code}def before(data, context):\n    return data\n")
        return path


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Trap:
    return Trap(tmp_path_factory.mktemp("trap"))


@pytest.fixture(scope="module")
def downloads(archive: Path, trap: Trap) -> Path:
    """A folder of downloads: the user's archive, and beside it a stranger's workflow."""
    (trap.folder / "tiny.mar").write_bytes(archive.read_bytes())
    trap.workflow(trap.folder / "evil.war")
    return trap.folder


@pytest.fixture(scope="module")
def served(downloads: Path) -> Iterator[Server]:
    with launched(downloads, "--archive", downloads / "tiny.mar", PATH="", OMP_NUM_THREADS="1") as server:
        yield server


@pytest.fixture(scope="module")
def with_tokens(downloads: Path) -> Iterator[Server]:
    options = ["--archive", downloads / "tiny.mar", "-h", "0.0.0.0"]
    with launched(downloads, *options, PATH="", OMP_NUM_THREADS="1") as server:
        yield server


@pytest.fixture(scope="module")
def plain(downloads: Path) -> Iterator[Server]:
    """TorchServe's own command, whose model store is the folder of downloads."""
    with plain_torchserve(downloads / "tiny.mar") as server:
        (server.state / "model_store" / "evil.war").write_bytes((downloads / "evil.war").read_bytes())
        yield server


@contextmanager
def offered(folder: Path) -> Iterator[str]:
    """The URL of a web server with the files of this folder."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()


QUERIES = {
    "a file of the model store": "?url=evil.war",
    "its full path": "?url={folder}/evil.war",
    "its full path as a URL": "?url=file://{folder}/evil.war",
    "up the tree": "?url=../{name}/evil.war",
    "up the tree, encoded": "?url=%2e%2e/{name}/evil.war",
    "from the web": "?url={web}/evil.war",
    "from the web, and up": "?url={web}/../evil.war",
    "with a name and workers": "?url=evil.war&workflow_name=evil&min_worker=1&synchronous=true",
    "the name encoded": "?url=%65vil.war",
}


def registered(port: int, path: str, **headers: str) -> Response:
    url = f"http://127.0.0.1:{port}{path}"
    return send(urllib.request.Request(url, b"", headers, method="POST"))


@pytest.mark.attack(1, "a workflow, which is code, registered at the management port")
@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("started_by", ["tensormask-server", "tensormask-server with tokens", "torchserve"])
def test_no_workflow_is_registered(request: pytest.FixtureRequest, trap: Trap, started_by: str, query: str) -> None:
    fixture = {"tensormask-server": "served", "torchserve": "plain"}.get(started_by, "with_tokens")
    server: Server = request.getfixturevalue(fixture)
    headers = {"Authorization": f"Bearer {server.keys()['management']}"} if fixture == "with_tokens" else {}
    with offered(trap.folder) as web:
        filled = QUERIES[query].format(folder=trap.folder, name=trap.folder.name, web=web)
        for path in ("/workflows", "/workflows/", "//workflows", "/%77orkflows", "/models/../workflows"):
            assert 400 <= registered(server.ports[1], path + filled, **headers).status < 500
    assert not trap.has_run


@pytest.mark.attack(1, "a workflow registered at the inference and metrics ports")
@pytest.mark.parametrize("door", [0, 2])
def test_no_other_port_registers_one(served: Server, trap: Trap, door: int) -> None:
    for path in ("/workflows?url=evil.war", "/models?url=evil.war", "/models/../workflows?url=evil.war"):
        assert 400 <= registered(served.ports[door], path).status < 500
    assert not trap.has_run


@pytest.mark.attack(1, "a workflow named in JSON, as curl and pages send it")
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_no_body_registers_one(served: Server, plain: Server, trap: Trap, content_type: str) -> None:
    body = b"url=evil.war" if "form" in content_type else b'{"url": "evil.war", "workflow_name": "evil"}'
    for server in (served, plain):
        url = f"http://127.0.0.1:{server.ports[1]}/workflows"
        response = send(urllib.request.Request(url, body, {"Content-Type": content_type}, method="POST"))
        assert 400 <= response.status < 500
    assert not trap.has_run


@pytest.mark.attack(1, "gRPC's ports, which TorchServe opens on loopback")
def test_grpcs_ports_are_closed(served: Server) -> None:
    """The kernel drops what comes: that is not a response, so the wait for one is short."""
    listening = {each.laddr.port for each in served.frontend().net_connections("tcp") if each.status == "LISTEN"}
    others = listening - {served.torchserve_port, *served.ports}
    assert len(others) == 2  # else this shows nothing
    for port in others:
        with pytest.raises(OSError, match=r"timed out"):
            socket.create_connection(("127.0.0.1", port), timeout=2)


@pytest.mark.attack(4, "modules, settings and links in the folder that the server is started in")
def test_nothing_in_the_starting_folder_is_used(tmp_path: Path, archive: Path, case: Case) -> None:
    trap = Trap(tmp_path)
    for name in ("psutil.py", "ts.py", "torch.py", "yaml.py", "sitecustomize.py", "tensormask_handler.py", "numpy.py"):
        (tmp_path / name).write_text(trap.code)
    (tmp_path / "tensormask_server").mkdir()
    (tmp_path / "tensormask_server" / "__init__.py").write_text(trap.code)
    (tmp_path / "log4j2.xml").write_text(
        f'<Configuration><Appenders><File name="f" fileName="{tmp_path}/it-has-run"><PatternLayout/></File></Appenders>'
        '<Loggers><Root level="all"><AppenderRef ref="f"/></Root></Loggers></Configuration>'
    )
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "key_file.json").symlink_to(tmp_path / "victim")
    with launched(tmp_path, "--archive", archive, "-h", "0.0.0.0", PATH="", OMP_NUM_THREADS="1") as server:
        headers = {"Authorization": f"Bearer {server.keys()['inference']}", "Content-Type": "application/json"}
        assert send(urllib.request.Request(server.url, request_body(case.image), headers)).status == 200
    assert not trap.has_run
    assert (tmp_path / "victim").read_text() == "mine"


@pytest.mark.attack(4, "a folder of logs that another user has planted")
@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a file to another user")
def test_logs_are_not_written_where_another_user_leads_them(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "logs").symlink_to(tmp_path / "others")
    os.chown(tmp_path / "logs", 65534, 65534, follow_symlinks=False)
    said = f"logs as the folder of the logs: the link {tmp_path}/logs belongs to another user"
    assert_one_line(run_launcher(tmp_path, "--archive", archive, "--logs", "logs"), 1, said)
    assert list((tmp_path / "others").iterdir()) == []
    with launched(tmp_path, "--archive", archive) as server:
        assert (server.state / "tensormask-server" / "logs" / "ts_log.log").exists()
    assert list((tmp_path / "others").iterdir()) == []


@pytest.mark.attack(4, "a folder of logs in a folder of another user's, who can rename it")
@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a folder to another user")
@pytest.mark.parametrize("folder", ["logs", "below/logs"])
def test_logs_are_not_written_below_a_folder_of_another_user(tmp_path: Path, archive: Path, folder: str) -> None:
    """The other user could put a link in its place after the start, which Java would follow."""
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    result = run_launcher(tmp_path / "theirs", "--archive", archive, "--logs", folder)
    assert_one_line(result, 1, f"{tmp_path}/theirs belongs to another user")
    assert "choose one with --logs DIR" in result.stderr
    assert list((tmp_path / "theirs").iterdir()) == []
