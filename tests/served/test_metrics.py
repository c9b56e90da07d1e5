"""The metrics that Prometheus gets. The dashboard uses no others."""

import json
import re
import urllib.request

from tensormask_server.worker.metrics import COUNTERS, HISTOGRAMS

from reference.cases import Case
from tests.served.conftest import ROOT, Server, request_body
from tests.waiting import PATIENCE, wait_for


def exported(server: Server) -> dict[str, float]:
    """The samples by their name and labels, but the host's."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports[2]}/metrics", timeout=PATIENCE) as response:
        lines = response.read().decode().splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {re.sub(r'[Hh]ostname="[^"]*",|,?}$', "", name).rstrip("{,"): float(value) for name, _, value in samples}


def exported_with(server: Server, name: str, least: float) -> dict[str, float]:
    """TorchServe reads a worker's metrics from its log, a moment after the response."""

    def enough() -> dict[str, float] | None:
        samples = exported(server)
        return samples if samples.get(name, 0) >= least else None

    return wait_for(enough, f"a {name} of {least:g} or more in /metrics")


def test_requests_are_counted(server: Server, case: Case) -> None:
    bad = 'tensormask_bad_requests_total{model_name="tiny",reason="option"'
    assert server.post(request_body(case.image)).status == 200
    assert server.post(request_body(case.image, threshold=2)).status == 400
    before = exported_with(server, bad, 1)
    response = server.post(request_body(case.image))
    server.post(request_body(case.image, threshold=3))
    after = exported_with(server, bad, before[bad] + 1)
    height, width = case.image.shape[:2]
    for name, more in {"images": 1, "batches": 1, "pixels": height * width}.items():
        key = f'tensormask_{name}_total{{model_name="tiny"'
        assert after[key] - before[key] == more, name
    instances = 'tensormask_instances_total{model_name="tiny"'
    assert after[instances] - before[instances] == len(response.tensors()["scores"])
    for name in HISTOGRAMS:
        assert after[f'{name}_count{{model_name="tiny"'] - before[f'{name}_count{{model_name="tiny"'] == 1
        assert after[f'{name}_sum{{model_name="tiny"'] > before[f'{name}_sum{{model_name="tiny"']


def test_the_dashboard_queries_only_exported_metrics(server: Server, case: Case) -> None:
    server.post(b"{}")
    server.post(request_body(case.image))
    samples = exported_with(server, 'tensormask_bad_requests_total{model_name="tiny",reason="body"', 1)
    names = {name.partition("{")[0] for name in samples}
    dashboard = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    metrics = {name for expression in queries for name in re.findall(r"\b(?:tensormask|ts|Requests)\w+", expression)}
    assert metrics - {"Requests5XX"} <= names  # that one is exported from the first such response on
    assert {re.sub("_(sum|count|bucket)$", "", name) for name in metrics} >= {*HISTOGRAMS, *COUNTERS}
