"""The figures that operators watch."""

from prometheus_client.registry import CollectorRegistry

from services.cache.tests.builders import serving, text_piece
from services.cache.tests.edges import edges


async def test_lookups_entries_edges_and_flights_are_counted() -> None:
    async with serving() as cache, edges(cache.address) as (one, two):
        registry = CollectorRegistry()
        registry.register(cache.service.collector)
        flight_id = (await one.ask(1)).lead_flight_id
        follower = two.follow(flight_id)
        await one.hear("wanted_flight_id")
        one.publish(flight_id, text_piece("4"))
        await follower.hear(1)
        await one.store(2)
        await two.ask(2)
        figures = {
            "asahi_cache_attached_edges": 2,
            "asahi_cache_flights": 1,
            "asahi_cache_flight_followers": 1,
            "asahi_cache_flights_led_total": 1,
            "asahi_cache_flights_followed_total": 1,
            "asahi_cache_flights_interrupted_total": 0,
            "asahi_cache_entries": 1,
        }
        assert {name: registry.get_sample_value(name) for name in figures} == figures
        assert registry.get_sample_value("asahi_cache_lookups_total", {"result": "tier_1"}) == 1
        assert registry.get_sample_value("asahi_cache_lookups_total", {"result": "miss"}) == 1
        assert (registry.get_sample_value("asahi_cache_flight_bytes") or 0) > 0
        await one.vanish()
        await follower.end()
        assert registry.get_sample_value("asahi_cache_flights_interrupted_total") == 1
