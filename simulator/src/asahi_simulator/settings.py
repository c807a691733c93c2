"""What the simulator can be told by environment variables."""

from pydantic import Field

from asahi_core.settings import ServiceSettings

_MODELS = (
    "gpt-6.1-sol,gpt-6.1-terra,gpt-6-sol,gpt-6-luna,gpt-5.5,gpt-5.4-mini,gpt-5.4-nano,"
    "claude-opus-5-5,claude-sonnet-5-5,claude-haiku-5-5"
)


class SimulatorSettings(ServiceSettings):
    """Field `x` is the variable `ASAHI_X`."""

    simulator_address: str = Field(
        default="127.0.0.1:0", pattern=r".+:\d{1,5}$", description="Address that HTTP is served on, host:port."
    )
    simulator_speed: float = Field(
        default=1.0, ge=0, le=100, description="Multiplies the models' latency: 0 no waiting at all, 1 believable."
    )
    simulator_deterministic: bool = Field(
        default=True, description="Whether the same request gets the same text; false: every call another."
    )
    simulator_answer_tokens: int = Field(
        default=0, ge=0, le=1_000_000, description="Tokens of every answer; 0: whole sentences, 60 to 150 tokens."
    )
    simulator_models: str = Field(
        default=_MODELS, description="Models that `/v1/models` lists, separated by commas; globs where none is listed."
    )
    simulator_refuse_unknown_models: bool = Field(
        default=False, description="Whether models that `ASAHI_SIMULATOR_MODELS` does not match are refused with 404."
    )
    simulator_calls_kept: int = Field(
        default=100_000, ge=1, le=10_000_000, description="Newest calls that `/control/calls` shows one by one."
    )

    @property
    def models(self) -> tuple[str, ...]:
        """The names in `simulator_models`."""
        return tuple(name.strip() for name in self.simulator_models.split(",") if name.strip())
