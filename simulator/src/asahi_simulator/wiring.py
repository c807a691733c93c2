"""Builds the simulator's objects."""

from random import Random

from starlette.types import ASGIApp

from asahi_core.clock import Clock
from asahi_core.ids import Ids
from asahi_core.prices import load_price_book
from asahi_simulator.api.app import SimulatorApp
from asahi_simulator.api.control import Control
from asahi_simulator.api.conversation import Provider
from asahi_simulator.api.cost_reports import CostReports
from asahi_simulator.domain.author import Author
from asahi_simulator.domain.calls import CallLog
from asahi_simulator.domain.prompt_cache import PromptCache
from asahi_simulator.domain.prose import Prose
from asahi_simulator.domain.rules import Rules
from asahi_simulator.settings import SimulatorSettings

_NONCE_BITS = 64


def build(settings: SimulatorSettings, clock: Clock, ids: Ids, random: Random) -> ASGIApp:
    """The application as `settings` say; `random` decides where rules have a probability, and varies texts."""
    nonce = None if settings.simulator_deterministic else lambda: random.getrandbits(_NONCE_BITS)
    rules = Rules(random.random)
    calls = CallLog(settings.simulator_calls_kept, load_price_book())
    prompt_cache = PromptCache(clock)
    provider = Provider(
        author=Author(Prose(), nonce=nonce, answer_tokens=settings.simulator_answer_tokens),
        rules=rules,
        calls=calls,
        prompt_cache=prompt_cache,
        clock=clock,
        ids=ids,
        speed=settings.simulator_speed,
        models=settings.models if settings.simulator_refuse_unknown_models else (),
    )
    return SimulatorApp(provider, Control(rules, calls, prompt_cache), CostReports(calls), settings.models)
