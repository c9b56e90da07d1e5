"""deploy/haproxy.cfg, which `make hosts` runs for minutes: that HAProxy takes it, and what its check asks a server."""

import re
import shutil
import subprocess
import urllib.request

import pytest

from served.conftest import ROOT, Server, send

PROXY = ROOT / "deploy" / "haproxy.cfg"


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed: its file isn't checked")
def test_haproxy_takes_its_file() -> None:
    checked = subprocess.run(["haproxy", "-c", "-f", str(PROXY)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "[WARNING]" not in checked.stderr


def test_what_its_check_asks_a_worker_answers(server: Server) -> None:
    [(path, name, value)] = re.findall(r"http-check send meth GET uri (\S+) hdr (\S+) (\S+)", PROXY.read_text())
    [status] = re.findall(r"http-check expect status (\d+)", PROXY.read_text())
    answers = []
    for model in (server.name, "absent"):
        url = f"http://127.0.0.1:{server.ports[0]}{path.replace('tensormask', model)}"
        answers.append(send(urllib.request.Request(url, headers={name: value})))
    assert [answer.status == int(status) for answer in answers] == [True, False]
    assert answers[0].content_type == "text/html; charset=utf-8"
