"""What stands in deploy/: the Dockerfile and the manifests, read."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser

DEPLOY = Path(__file__).parents[1] / "deploy"
KUSTOMIZATIONS = ["base", "overlays/cpu", "overlays/gpu"]


def read(path: str) -> Any:
    """The one document of a file in deploy/."""
    return yaml.safe_load((DEPLOY / path).read_text())


def built(kustomization: str) -> dict[str, Any]:
    """From their kind to the manifests that kubectl makes of a folder of deploy/kubernetes."""
    if not shutil.which("kubectl"):
        pytest.skip("there is no kubectl to build the manifests with")
    command = ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / kustomization)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(result.stdout)}


def pod_specs() -> dict[str, Any]:
    """By the file they stand in."""
    deployment, service = "kubernetes/base/deployment.yaml", "kserve/inference-service.yaml"
    return {deployment: read(deployment)["spec"]["template"]["spec"], service: read(service)["spec"]["predictor"]}


def kserve_fields(name: str) -> dict[str, str]:
    """Of one of KServe's published types its fields, as a manifest writes them, and what each holds ("int",
    "list[V1Container]"); read and not imported, because the package imports a server of its own."""
    source = Path(sys.prefix) / "types/kserve/models" / f"{name}.py"
    if not source.exists():
        pytest.skip("KServe's SDK isn't there: make test installs it")
    [declared] = [node for node in ast.parse(source.read_text()).body if isinstance(node, ast.ClassDef)]
    constants = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in declared.body
        if isinstance(node, ast.Assign)
    }
    types = constants["openapi_types"]
    return {written: types[field] for field, written in constants["attribute_map"].items()}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's names and values, in their order."""
    parser = DockerfileParser(path=str(DEPLOY / "Dockerfile"), cache_content=True, env_replace=False)
    return [(each["instruction"], each["value"]) for each in parser.structure if each["instruction"] != "COMMENT"]
