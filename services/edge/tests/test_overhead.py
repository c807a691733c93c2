"""The time that Asahi adds to an answer, as operators see it."""

from prometheus_client import REGISTRY

from services.edge.tests.flying import verdict
from services.edge.tests.serving import serving


def _counted(answered_by: str) -> float:
    return REGISTRY.get_sample_value("asahi_overhead_seconds_count", {"answered_by": answered_by}) or 0.0


async def test_answers_of_providers_and_of_the_cache_are_counted_apart() -> None:
    before = _counted("provider"), _counted("cache")
    async with serving() as served:
        served.auth.says = verdict()
        served.auth.says.policy.cache.tiers.append(1)
        served.auth.says.policy.cache.ttl_seconds = 3600
        served.rig.router.script = lambda completion: completion.answer("42")
        for _ in range(3):
            assert (await served.ask("/infer", {"prompt": "What is 6 × 7?"})).status_code == 200
    assert (_counted("provider") - before[0], _counted("cache") - before[1]) == (1, 2)
