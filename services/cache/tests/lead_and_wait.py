"""A process that leads a flight, publishes its opening when asked, and waits to be killed."""

import asyncio
import sys

from services.cache.tests.builders import opening
from services.cache.tests.edges import Edge


async def _lead(address: str) -> None:
    edge = Edge(address, "edge-to-be-killed")
    await edge.attach()
    flight_id = (await edge.ask()).lead_flight_id
    sys.stdout.write(f"{flight_id}\n")
    sys.stdout.flush()
    await edge.hear("wanted_flight_id")
    edge.publish(flight_id, opening())
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_lead(sys.argv[1]))
