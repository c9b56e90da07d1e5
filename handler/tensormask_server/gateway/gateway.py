"""What all routes of a gateway share."""

from dataclasses import dataclass

from tensormask_server.gateway.models import Models
from tensormask_server.gateway.settings import Settings
from tensormask_server.gateway.upstream import Upstream


@dataclass(frozen=True)
class Gateway:
    """One gateway."""

    settings: Settings
    upstream: Upstream
    models: Models
