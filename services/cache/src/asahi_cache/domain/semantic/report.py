"""What an organisation's tier 2 is measured to do: the share of wrong answers among those that it serves."""

from asahi_cache.domain.semantic.decision import SERVING, STRATA, Ledger


def measured(ledger: Ledger, shared: Ledger | None = None) -> tuple[float, float, float] | None:
    """(share, low, high) over the strata that are served, each weighed by what it served; None: nothing is known.

    Each stratum's interval holds at all times but with its own part of the error probability, so all hold together.
    """
    serving = [
        number for number in range(len(STRATA) + 1) if ledger.known(number, shared) in SERVING and ledger.served(number)
    ]
    audited = [number for number in serving if ledger.evidence(number).audits]
    whole = sum(ledger.served(number) for number in serving)
    if not audited:
        return None
    share = low = high = 0.0
    for number in serving:
        evidence, weight = ledger.evidence(number), ledger.served(number) / whole
        one_low, one_high = evidence.interval()
        share += weight * (evidence.wrong / evidence.audits if evidence.audits else 0.0)
        low += weight * one_low
        high += weight * one_high
    return share, low, high
