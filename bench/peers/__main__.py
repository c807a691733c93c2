"""`make bench-peers`: Asahi beside LiteLLM and Portkey, in front of the same provider, on the same cores.

The gateway has one core to itself, with all its processes; the provider and who asks have the other. Rounds are
interleaved: in each, every gateway is started, asked and ended in turn. CPU is that of a gateway's whole tree of
processes. Nothing of it can reach anything but loopback. Asahi has keys, limits, a budget that blocks, its cache,
billing, metrics and traces at 1 % on, in all five services; what the others have on is in `bench/peers/gateways.py`.
"""

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

from bench.machine import conditions, load_average
from bench.peers.gateways import GATEWAYS, provider
from bench.peers.inside import go_inside
from bench.peers.install import litellm, portkey
from bench.peers.rounds import Extent, Figure, Rounds, told

_ANSWER_TOKENS = 64


def measure(names: list[str], rounds: int, extent: Extent) -> list[tuple[str, dict[str, Figure]]]:
    """The figures of each gateway, by name. Each runs alone, anew in each round."""
    found: dict[str, dict[str, Figure]] = {}
    salts = itertools.count()
    with tempfile.TemporaryDirectory(prefix="asahi-peers-") as folder, provider(Path(folder), _ANSWER_TOKENS) as url:
        port = int(url.rpartition(":")[2])
        for number, name in itertools.product(range(1, rounds + 1), names):
            print(f"round {number} of {rounds}: {name}", file=sys.stderr, flush=True)
            own = Path(folder) / f"{name}-{number}"
            own.mkdir()
            with GATEWAYS[name](own, url) as gateway:
                for figure, unit, value in Rounds(gateway, extent, port, salts).measure():
                    figures = found.setdefault(gateway.name, {})
                    figures.setdefault(figure, Figure(figure, unit)).values.append(value)
    return list(found.items())


def main() -> None:
    """Installs, measures, prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each gateway is measured; default 3")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each window; default 8")
    parser.add_argument("--only", action="append", choices=list(GATEWAYS), help="this gateway; can be repeated")
    options = parser.parse_args()
    names = options.only or list(GATEWAYS)
    for name, install in (("litellm", litellm), ("portkey", portkey)):
        if name in names:
            install()
    go_inside("bench.peers", sys.argv[1:])
    print(conditions("make bench-peers", load_average()), end="\n\n", flush=True)
    print("\n".join(told(measure(names, options.rounds, Extent(options.seconds)))))


if __name__ == "__main__":
    main()
