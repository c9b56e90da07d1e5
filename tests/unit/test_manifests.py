"""The manifests and the Dockerfile: valid, and of one mind with each other and with the commands that they name."""

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import tensormask_server
import yaml
from tensormask_server.gateway.arguments import gateway_parser
from tensormask_server.launcher.arguments import server_arguments
from tensormask_server.torchserve.frontend import STOP_SECONDS

from tests.manifests import DEPLOY, KUSTOMIZATIONS, built, instructions, kserve_fields, pod_specs, read

RELEASES = ["1.30", "1.37"]
KINDS = {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}
# of KServe's predictor, what it has beside a pod's specification, and what each holds
KSERVE_FIELDS = {"minReplicas": int, "maxReplicas": int, "scaleMetric": str, "scaleTarget": int}
POD_SPECS = pod_specs()


def values(name: str) -> list[str]:
    return [value for instruction, value in instructions() if instruction == name]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_kubernetes_would_take_them(kustomization: str, release: str) -> None:
    manifests = built(kustomization)
    assert manifests.keys() == KINDS
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, release, strict=True)


@pytest.mark.parametrize("release", RELEASES)
def test_kubernetes_would_take_the_predictors_pod(release: str) -> None:
    service = read("kserve/inference-service.yaml")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    spec = {key: value for key, value in service["spec"]["predictor"].items() if key not in KSERVE_FIELDS}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": spec}
    kubernetes_validate.validate(pod, release, strict=True)


def test_kserve_would_take_its_service() -> None:
    service = read("kserve/inference-service.yaml")
    predictor, published = service["spec"]["predictor"], kserve_fields("v1beta1_predictor_spec")
    assert service.keys() <= kserve_fields("v1beta1_inference_service").keys()
    assert service["spec"].keys() <= kserve_fields("v1beta1_inference_service_spec").keys()
    assert predictor.keys() <= published.keys()
    for name, type_ in KSERVE_FIELDS.items():
        assert published[name] == type_.__name__
        assert isinstance(predictor[name], type_)


def test_a_wrong_manifest_would_be_seen() -> None:
    deployment = read("kubernetes/base/deployment.yaml")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenessProb"):
        kubernetes_validate.validate(deployment, RELEASES[0], strict=True)


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_they_are_about_the_same_pods(kustomization: str) -> None:
    manifests = {kind: manifest["spec"] for kind, manifest in built(kustomization).items()}
    template = manifests["Deployment"]["template"]
    labels, [container] = template["metadata"]["labels"], template["spec"]["containers"]
    selectors = [manifests[kind]["selector"]["matchLabels"] for kind in ("Deployment", "PodDisruptionBudget")]
    for selector in [
        *selectors,
        manifests["Service"]["selector"],
        manifests["NetworkPolicy"]["podSelector"]["matchLabels"],
    ]:
        assert selector
        assert selector.items() <= labels.items()
    target = manifests["HorizontalPodAutoscaler"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", built(kustomization)["Deployment"]["metadata"]["name"])
    assert "replicas" not in manifests["Deployment"]  # else each kubectl apply would undo the autoscaler's
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    admitted = [port["port"] for rule in manifests["NetworkPolicy"]["ingress"] for port in rule["ports"]]
    assert sorted(admitted) == sorted(ports)
    assert manifests["Service"]["ports"][0]["targetPort"] == container["livenessProbe"]["httpGet"]["port"] == "http"
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(ports["metrics"])


def test_the_overlays_change_what_they_are_for() -> None:
    base, cpu, gpu = (built(kustomization) for kustomization in KUSTOMIZATIONS)
    limits, image = {}, {}
    for name, manifests in (("base", base), ("cpu", cpu), ("gpu", gpu)):
        [container] = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
        limits[name], image[name] = container["resources"]["limits"], container["image"]
    assert limits["gpu"] == {**limits["base"], "nvidia.com/gpu": 1}
    assert limits["cpu"] == limits["base"]
    assert len(set(image.values())) == 3
    metrics = [metric["type"] for metric in cpu["HorizontalPodAutoscaler"]["spec"]["metrics"]]
    assert metrics == ["Resource"]
    assert [metric["type"] for metric in gpu["HorizontalPodAutoscaler"]["spec"]["metrics"]] == ["Pods"]
    assert gpu["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}


def test_the_autoscaler_uses_the_adapters_metric() -> None:
    [metric] = read("kubernetes/base/autoscaler.yaml")["spec"]["metrics"]
    [rule] = read("kubernetes/prometheus-adapter.yaml")["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]


@pytest.mark.parametrize("spec", POD_SPECS.values(), ids=POD_SPECS.keys())
def test_pods_have_no_rights_and_write_only_to_tmp(spec: dict[str, Any]) -> None:
    [container] = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert values("USER") == [f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}"]
    assert spec["automountServiceAccountToken"] is False
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    assert "emptyDir" in spec["volumes"][0]


@pytest.mark.parametrize("spec", POD_SPECS.values(), ids=POD_SPECS.keys())
def test_the_launcher_takes_their_arguments_and_has_time_to_drain(spec: dict[str, Any]) -> None:
    [container] = spec["containers"]
    command, *always = json.loads(values("ENTRYPOINT")[0])
    parsed = server_arguments([*always, *container["args"]])
    assert command == "tensormask-server"
    assert [str(path) for path in parsed.archives] == [values("COPY")[-1].split()[-1]]
    assert parsed.port == container["ports"][0]["containerPort"] == int(values("EXPOSE")[0])
    assert parsed.logs.is_relative_to("/tmp")
    waits = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert spec["terminationGracePeriodSeconds"] >= waits + parsed.stop_timeout + STOP_SECONDS


@pytest.mark.parametrize("spec", POD_SPECS.values(), ids=POD_SPECS.keys())
def test_the_probes_and_the_images_health_check_are_one_command(spec: dict[str, Any]) -> None:
    [container] = spec["containers"]
    [check] = values("HEALTHCHECK")
    command = json.loads(check[check.index("[") :])
    assert container["startupProbe"]["exec"]["command"] == container["readinessProbe"]["exec"]["command"] == command
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] > 300  # of wait_until_ready, which says why


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    root = DEPLOY.parent
    *rules, _, _ = lines = [
        line for line in (root / ".dockerignore").read_text().split("\n") if line[:1] not in ("#", "")
    ]
    assert lines[0] == "*"
    admitted = [rule[1:] for rule in rules if rule.startswith("!")]
    copied = [value.split()[:-1] for value in values("COPY") if not value.startswith("--from")]
    for source in (source for sources in copied for source in sources):
        if source != "${ARCHIVE}":
            assert (root / source).exists()
            assert source in admitted
    [default] = [value.partition("=")[2] for value in values("ARG") if value.startswith("ARCHIVE=")]
    assert any(fnmatch.fnmatch(default, rule) for rule in admitted)


def test_the_service_may_open_every_family_of_sockets_that_the_server_uses() -> None:
    unit = (DEPLOY / "tensormask-server.service").read_text()
    [allowed] = re.findall(r"^RestrictAddressFamilies=(.*)$", unit, re.MULTILINE)
    sources = "\n".join(path.read_text() for path in Path(tensormask_server.__file__).parent.rglob("*.py"))
    used = set(re.findall(r"\bsocket\.(AF_[A-Z0-9]+)", sources))
    assert "AF_NETLINK" in used
    assert used <= set(allowed.split())


def test_the_gateways_files_name_options_that_it_has() -> None:
    unit = (DEPLOY / "tensormask-gateway.service").read_text()
    [started] = re.findall(r"^ExecStart=\S+/tensormask-gateway (.*)$", unit, re.MULTILINE)
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["gateway"]
    assert composed["network_mode"] == "service:server"
    for arguments in (started.split(), [*composed["entrypoint"][1:], *composed["command"]]):
        parsed = gateway_parser().parse_args(arguments)
        assert (parsed.port, parsed.upstream) == (8000, "http://127.0.0.1:8080")


def test_the_last_stage_gets_no_compiler() -> None:
    last = (DEPLOY / "Dockerfile").read_text().partition(" AS server\n")[2]
    [installed] = re.findall(r"apt-get install [-a-z ]*?((?: [a-z0-9]+)+) &&", last)
    assert installed.split() == ["python3"]


def test_the_image_is_for_one_release_of_debian() -> None:
    bases = {value.split()[0] for value in values("FROM")}
    assert bases == {"debian:bookworm-slim", "server"}
    assert Path(DEPLOY / "try_image.sh").stat().st_mode & 0o111
