"""`python -m services.cache.tests.bound_rig [--seeds 200]`: the promise on false hits, by simulation.

Stationary streams of several shares of wrong answers: how many seeds keep false hits within δ·served + 2√(δ·served).
Streams that change (drift, flipped labels, near-miss twins of stored prompts): how many false hits between the change
and the stop, beside what follows from the audit probability ρ at the change.
"""

import argparse
import sys
from random import Random
from statistics import mean

from asahi_cache.domain.semantic.decision import Ledger
from services.cache.tests.streams import Outcome, run

_LENGTH = 6000
_LEAST_SERVED = 500


def main() -> int:
    """Prints the tables; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="services.cache.tests.bound_rig", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--delta", type=float, nargs="+", default=[0.01, 0.02, 0.05], help="bounds to simulate")
    options = parser.parse_args()
    seeds: int = options.seeds
    broken = False
    print("stationary: δ, true share of wrong answers, seeds that served ≥ 500, seeds within the bound, mean served")
    for delta in options.delta:
        for times in (0.0, 0.3, 0.7, 1.0, 1.5, 3.0):
            outcomes = [
                run(Ledger(delta, Random(seed).random), Random(10_000 + seed), [times * delta] * _LENGTH)
                for seed in range(seeds)
            ]
            within = sum(_within(outcome, delta) for outcome in outcomes)
            served = sum(outcome.served >= _LEAST_SERVED for outcome in outcomes)
            broken |= within < 0.95 * seeds
            print(
                f"{delta:5.2f} {times * delta:7.4f} {served:4d} {within:4d}/{seeds} "
                f"{mean(outcome.served for outcome in outcomes):8.0f}",
                flush=True,
            )
    print("change after 5000 clean: δ, share after, ρ then, false hits until the stop (mean, p95), what ρ lets expect")
    for delta in options.delta:
        for name, after in (("drift", 0.2), ("near-miss twins", 0.5), ("flipped labels", 1.0)):
            hits, rhos = [], []
            for seed in range(seeds):
                ledger = Ledger(delta, Random(seed).random)
                before = run(ledger, Random(seed), [0.0] * 5000)
                rhos.append(before.last_audit_probability)
                hits.append(run(ledger, Random(20_000 + seed), [after] * 3000).false_hits)
            rho = mean(rhos)
            needed = _wrong_audits_needed(delta, after)
            expected = needed * (1 - rho) / rho
            print(
                f"{delta:5.2f} {name:16s} {after:4.1f} {rho:6.3f} {mean(hits):7.1f} "
                f"{sorted(hits)[int(0.95 * seeds)]:5d} {expected:7.1f}"
            )
            broken |= not 0.4 * expected <= mean(hits) <= 2.5 * expected
    return int(broken)


def _within(outcome: Outcome, delta: float) -> bool:
    allowed = delta * outcome.served + 2 * (delta * outcome.served) ** 0.5
    return outcome.served < _LEAST_SERVED or outcome.false_hits <= allowed


def _wrong_audits_needed(delta: float, after: float) -> float:
    """Mean number of wrong audits until an alarm, from the audits alone."""
    counts: list[int] = []
    for seed in range(50):
        ledger, random = Ledger(delta, lambda: 1.0), Random(seed)
        evidence = ledger.evidence(1)
        while not evidence.proven:
            evidence.add(wrong=False)
        wrong = 0
        while evidence.proven:
            outcome = random.random() < after
            wrong += outcome
            evidence.add(wrong=outcome)
        counts.append(wrong)
    return float(mean(counts))


if __name__ == "__main__":
    sys.exit(main())
