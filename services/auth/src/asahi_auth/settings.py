"""What the auth service can be told by environment variables."""

from typing import Literal

from pydantic import Field

from asahi_core.settings import ServiceSettings


class AuthSettings(ServiceSettings):
    """Field `x` is the variable `ASAHI_X`."""

    signup: Literal["open", "closed"] = Field(
        default="closed", description="Whether anybody may make an organisation: `open` or `closed`."
    )
