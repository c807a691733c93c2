"""Bodies of `/health*`."""

from typing import Annotated

from msgspec import Struct

from asahi_edge.api.schemas.fields import described, one_of

_STATES = ("healthy", "degraded", "unhealthy")


class ComponentView(Struct):
    """A part of the installation."""

    status: Annotated[str, one_of("`degraded`: inference goes on without it. `unhealthy`: it does not.", *_STATES)]
    detail: Annotated[str, described("What it does, or what is wrong.")]


class HealthView(Struct):
    """The installation as the edge sees it."""

    status: Annotated[
        str, one_of("`unhealthy`: inference cannot be served; else the worst of the components.", *_STATES)
    ]
    version: Annotated[str, described("The edge's version.")]
    uptime_seconds: Annotated[float, described("Age of the process that answered, in seconds.", ge=0)]
    components: Annotated[dict[str, ComponentView], described("The parts by name.")]


class ProbeView(Struct):
    """A probe's answer."""

    status: Annotated[str, one_of("`ok`, or why not.", "ok", "starting", "stopping")]
