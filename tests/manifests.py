"""What stands in deploy/: the Dockerfile and the manifests, read."""

import shutil
import subprocess
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
    """By their kind the manifests that kubectl makes of a folder of deploy/kubernetes."""
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


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's names and values, in their order."""
    parser = DockerfileParser(path=str(DEPLOY / "Dockerfile"), cache_content=True, env_replace=False)
    return [(each["instruction"], each["value"]) for each in parser.structure if each["instruction"] != "COMMENT"]
