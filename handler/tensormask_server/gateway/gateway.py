"""What all routes of a gateway share."""

from dataclasses import dataclass

from tensormask_server.gateway.models import Models
from tensormask_server.gateway.settings import Settings
from tensormask_server.gateway.upstream import Upstream
from tensormask_server.gateway.whole_bodies import WholeBodies


@dataclass(frozen=True)
class Gateway:
    """One gateway."""

    settings: Settings
    upstream: Upstream
    models: Models
    whole_bodies: WholeBodies
