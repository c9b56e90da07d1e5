"""Makes a project in Label Studio of a folder of images, with this server as its ML backend, and fetches predictions.

export LABEL_STUDIO_API_KEY=…
tensormask-server … --gateway 8000 --label-studio http://127.0.0.1:8090
python examples/label_studio_project.py http://127.0.0.1:8090 http://127.0.0.1:8000 images --labels apple,dog

The key is a personal access token of Label Studio: Account & Settings, Personal Access Token. This program needs httpx,
which the extra `gateway` brings.
"""

import argparse
import os
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import httpx
from tensormask_server.image_files import is_image_name

COLOURS = ("#1d6fdc", "#8338ec", "#e63995", "#00a6a6", "#d62828", "#2a9d5c")
VALID_SECONDS = 60.0  # of an access token; Label Studio's are valid for five minutes
PATIENCE = 600.0  # seconds; Label Studio answers when all predictions are there


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes a project in Label Studio with this server's predictions.")
    parser.add_argument("label_studio", help="URL of Label Studio")
    parser.add_argument("gateway", help="URL of this server's gateway, as Label Studio reaches it")
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("--labels", required=True, help="classes of the network, separated by commas")
    parser.add_argument("--tool", default="BrushLabels", help="or PolygonLabels, or RectangleLabels")
    parser.add_argument("--title", default="TensorMask", help="of the project (default: %(default)s)")
    parsed = parser.parse_args()
    url = parsed.label_studio.rstrip("/")
    key = os.environ.get("LABEL_STUDIO_API_KEY", "").strip()
    if not key:
        sys.exit("the environment variable LABEL_STUDIO_API_KEY is missing; expected a personal access token")
    try:
        images = sorted(path for path in parsed.images.iterdir() if is_image_name(path.name))
        with session(url, key) as http:
            config = labelling_config(parsed.tool, parsed.labels.split(","))
            project = make_project(http, parsed.title, config, images)
            connect(http, project, parsed.gateway)
            fetch_predictions(http, project)
            found = [len(each["predictions"]) for each in tasks(http, project)]
    except httpx.HTTPStatusError as error:
        sys.exit(f"Label Studio refuses {error.request.url.path}: {error.response.text[:1000]}")
    except httpx.TransportError as error:
        sys.exit(f"Label Studio at {url} doesn't answer ({type(error).__name__}); expected the URL of a running one")
    except OSError as error:
        sys.exit(f"can't read the images: {error}; expected a folder")
    print(f"{sum(found)} predictions for {len(found)} images: {url}/projects/{project}/data")


def session(url: str, key: str) -> httpx.Client:
    """A client of Label Studio's API.

    Args:
        url: of Label Studio.
        key: a personal access token.
    """
    return httpx.Client(base_url=url, auth=_Access(url, key), timeout=PATIENCE, event_hooks={"response": [_check]})


class _Access(httpx.Auth):
    """Gets access tokens for a personal access token."""

    requires_response_body = True

    def __init__(self, url: str, key: str):
        self._url = f"{url}/api/token/refresh"
        self._key = key
        self._access = ""
        self._got_at = float("-inf")

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if time.monotonic() > self._got_at + VALID_SECONDS:
            response = yield httpx.Request("POST", self._url, json={"refresh": self._key})
            self._access, self._got_at = response.json()["access"], time.monotonic()
        request.headers["Authorization"] = f"Bearer {self._access}"
        yield request


def labelling_config(tool: str, labels: Sequence[str]) -> str:
    """The configuration of a project whose tasks have one image.

    Args:
        tool: BrushLabels, PolygonLabels or RectangleLabels.
        labels: names of classes.
    """
    tags = "".join(
        f"<Label value={quoteattr(label.strip())} background={quoteattr(COLOURS[index % len(COLOURS)])}/>"
        for index, label in enumerate(labels)
    )
    return f'<View><Image name="image" value="$image"/><{tool} name="label" toName="image">{tags}</{tool}></View>'


def make_project(http: httpx.Client, title: str, config: str, images: Sequence[Path]) -> int:
    """Makes a project with a task for each image, and returns its number."""
    project: int = http.post("/api/projects/", json={"title": title, "label_config": config}).json()["id"]
    for image in images:
        with image.open("rb") as file:
            http.post(f"/api/projects/{project}/import", files={"file": (image.name, file)})
    return project


def connect(http: httpx.Client, project: int, gateway: str, **options: object) -> int:
    """Connects a gateway as the project's ML backend, and returns the backend's number."""
    content = {"project": project, "url": gateway, "title": "TensorMask", "is_interactive": True, **options}
    backend: int = http.post("/api/ml/", json=content).json()["id"]
    return backend


def fetch_predictions(http: httpx.Client, project: int) -> None:
    """The action "Retrieve predictions" on all tasks of a project."""
    chosen = {"selectedItems": {"all": True, "excluded": []}}
    http.post(f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", json=chosen)


def tasks(http: httpx.Client, project: int) -> list[dict[str, Any]]:
    """The project's tasks with their predictions, in the order in which they were made."""
    listed: list[dict[str, Any]] = http.get(f"/api/projects/{project}/tasks/", params={"page_size": 10_000}).json()
    return [http.get(f"/api/tasks/{number}").json() for number in sorted(task["id"] for task in listed)]


def _check(response: httpx.Response) -> None:
    if response.is_error:
        response.read()
    response.raise_for_status()


if __name__ == "__main__":
    main()
