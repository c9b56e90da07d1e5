"""The settings of a gateway."""

from dataclasses import dataclass, field
from pathlib import Path

from tensormask_server.serving_arguments import IDLE_SECONDS


@dataclass(frozen=True)
class Settings:
    """What one gateway does. The limits are those of the server behind it, unless somebody changes either."""

    upstream: str = "http://127.0.0.1:8080"  # of the server behind the gateway, without a path
    management_port: int = 8081  # of that server's management API on this machine; it names the models
    key_file: Path | None = None  # TorchServe's key_file.json. None: the one of this user's tensormask-server
    origins: tuple[str, ...] = ()  # of the pages in browsers that may read responses
    max_body_bytes: int = 67_108_864  # of a request; max_request_size of config.properties
    connections: int = 100  # to the server behind, at a time; it keeps one for each request in hand
    idle_seconds: float = IDLE_SECONDS  # without a byte of a request's body; --idle-timeout of tensormask-server
    response_seconds: float = 7200  # without a byte of a response; longer than the server's queue can take
    request_log: str = ""  # a file's path, or "-" for stdout; "": no log
    label_studio: str = ""  # URL of the Label Studio from which images are fetched, without a slash; "": none are
    label_studio_token: str = field(default="", repr=False)  # of that Label Studio; "": it gets none
