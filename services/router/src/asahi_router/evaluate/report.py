"""The evaluation in words, as JSON and as a picture."""

from collections.abc import Iterator, Sequence

import numpy as np

from asahi_router.domain.learning.guard import RULES
from asahi_router.evaluate.judge import Judged, Verdict
from asahi_router.evaluate.nested import MARGINS, advised, mean_points
from asahi_router.evaluate.statistics import Estimate, Floats, Points

_GAIN_ONLY = ("routerarena/pair", "routerdc7b/all7")
"""Pools in which there is nothing to save: they are no part of the mean."""
_SAVED = {
    "llmrouter9/all9": (0.60, 0.72),
    "mixed/frontier5": (0.50, 0.68),
    "bfcl/frontier10": (0.45, 0.65),
    "zeroeval/gpt4o2": (0.35, 0.46),
    "mmlu_pro/gemini2": (0.38, 0.43),
    "mmlu_pro/all9": (0.35, 0.43),
    "zeroeval/frontier12": (0.30, 0.40),
    "routerbench/all11": (0.27, 0.32),
    "routellm_mmlu/gpt4+mixtral": (0.22, 0.28),
    "mixed/gpt4+mixtral": (0.16, 0.26),
}
"""First step and aim by pool, as share of the fallback's cost."""
_BINS = 10


def mean_of(judged: Judged) -> tuple[float, float]:
    """Saved and lost, means over the pools in which something can be saved."""
    pools = [verdict for verdict in judged.pools if verdict.name not in _GAIN_ONLY]
    saved = float(np.mean([verdict.routed.saved.point for verdict in pools])) if pools else 0.0
    lost = float(np.mean([verdict.routed.lost.point for verdict in pools])) if pools else 0.0
    return saved, lost


def within(judged: Judged) -> list[dict[float, Points]]:
    """By split: what its memories alone show of each margin, means over the pools in which something can be saved."""
    pools = [verdict.within for verdict in judged.pools if verdict.name not in _GAIN_ONLY]
    return [mean_points(of_split) for of_split in zip(*pools, strict=True)]


def as_json(judged: Judged) -> dict[str, object]:
    """Shares are fractions of the fallback's cost and quality."""
    saved, lost = mean_of(judged)
    curve, error = reliability(judged.predicted, judged.measured)
    return {
        "epsilon": judged.epsilon,
        "pools": {verdict.name: _verdict(verdict) for verdict in judged.pools},
        "left_out": {verdict.name: _verdict(verdict) for verdict in judged.left_out},
        "mean": {"saved": saved, "lost": lost},
        "margins": [
            {f"{margin:g}": {"saved": seen.saved, "lost": seen.lost} for margin, seen in means.items()}
            for means in within(judged)
        ],
        "advised_margins": [advised(means, judged.epsilon) for means in within(judged)],
        "reliability": [{"predicted": p, "measured": m, "n": n} for p, m, n in curve],
        "ece": error,
        "decision_ms": {"p50": _quantile(judged.decision_ms, 0.5), "p99": _quantile(judged.decision_ms, 0.99)},
    }


def in_words(judged: Judged) -> Iterator[str]:
    """Markdown: pools, controls, left-out sources, aims."""
    yield "| pool (queries) | fallback | saved % | lost % | switched | harmed |"
    yield "| --- | --- | --: | --: | --: | --- |"
    for verdict in judged.pools:
        yield _row(verdict)
    saved, lost = mean_of(judged)
    yield f"| **mean** | | **{100 * saved:.1f}** | **{100 * lost:.2f}** | | |"
    yield ""
    if judged.left_out:
        yield "| source left out of the memory (queries) | fallback | saved % | lost % | switched | harmed |"
        yield "| --- | --- | --: | --: | --: | --- |"
        for verdict in judged.left_out:
            yield _row(verdict)
        yield ""
    policies = list(judged.pools[0].controls)
    yield f"| saved % @ lost % | {' | '.join(['router', *policies])} |"
    yield f"| --- |{' --: |' * (1 + len(policies))}"
    for verdict in judged.pools:
        router = Points(verdict.routed.saved.point, verdict.routed.lost.point)
        cells = [_at(router), *(_at(verdict.controls[policy]) for policy in policies)]
        yield f"| {verdict.name} | {' | '.join(cells)} |"
    yield ""
    yield "| aim | first step | aim | seen | first step |"
    yield "| --- | --: | --: | --: | --- |"
    for name, first, aim, seen, reached in _aims(judged):
        yield f"| {name} | {first} | {aim} | {seen} | {'reached' if reached else '**missed**'} |"
    yield ""
    yield from _margins(judged)
    yield ""
    _, error = reliability(judged.predicted, judged.measured)
    took = judged.decision_ms
    yield (
        f"Expected calibration error of the quality {error:.3f}; a decision takes {_quantile(took, 0.5):.2f} ms "
        f"(p99 {_quantile(took, 0.99):.2f})."
    )


def reliability(predicted: Floats, measured: Floats) -> tuple[list[tuple[float, float, int]], float]:
    """Mean expected and mean measured quality by tenth of what was expected, and their mean distance (ECE)."""
    place = np.clip((np.clip(predicted, 0, 1) * _BINS).astype(int), 0, _BINS - 1)
    curve = [
        (float(predicted[place == n].mean()), float(measured[place == n].mean()), int(np.sum(place == n)))
        for n in range(_BINS)
        if np.any(place == n)
    ]
    total = sum(count for _, _, count in curve)
    return curve, sum(abs(p - m) * count for p, m, count in curve) / total


def picture(judged: Judged) -> str:
    """The cost-quality plane as SVG: what each pool saved and lost, by the router and by the controls."""
    width, height, left, top = 760, 420, 60, 20
    across, down = width - left - 150, height - top - 50

    def x(saved: float) -> float:
        return left + across * min(1.0, max(0.0, saved))

    def y(lost: float) -> float:
        return top + down * (min(0.06, max(-0.06, lost)) + 0.06) / 0.12

    colors = {"router": "#0a6", "blind mix": "#888", "kNN 50, no guard": "#c60", "best constant": "#36c"}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    lines += [
        f'<text x="{x(share):.0f}" y="{top + down + 18}" text-anchor="middle">{100 * share:.0f}</text>'
        for share in (0, 0.2, 0.4, 0.6, 0.8, 1)
    ]
    for lost in (-0.06, -0.04, -0.02, 0, 0.02, 0.04, 0.06):
        lines.append(f'<text x="{left - 8}" y="{y(lost) + 4:.0f}" text-anchor="end">{100 * lost:+.0f}</text>')
        lines.append(f'<line x1="{left}" x2="{left + across}" y1="{y(lost):.0f}" y2="{y(lost):.0f}" stroke="#eee"/>')
    limit = y(judged.epsilon)
    lines += [
        f'<line x1="{left}" x2="{left + across}" y1="{limit:.1f}" y2="{limit:.1f}" stroke="#c00" '
        'stroke-dasharray="4 3"/>',
        f'<text x="{left + across + 6}" y="{limit + 4:.0f}" fill="#c00">ε</text>',
        f'<text x="{left + across / 2:.0f}" y="{height - 12}" text-anchor="middle">saved, % of the fallback\'s cost'
        "</text>",
        f'<text x="16" y="{top + down / 2:.0f}" transform="rotate(-90 16 {top + down / 2:.0f})" '
        'text-anchor="middle">lost, % of its quality (up: gained)</text>',
    ]
    for number, (policy, color) in enumerate(colors.items()):
        at = top + 20 + 18 * number
        lines.append(f'<circle cx="{left + across + 16}" cy="{at + 14}" r="4" fill="{color}"/>')
        lines.append(f'<text x="{left + across + 26}" y="{at + 18}">{policy}</text>')
        for verdict in judged.pools:
            if verdict.name in _GAIN_ONLY:
                continue
            routed = Points(verdict.routed.saved.point, verdict.routed.lost.point)
            seen = routed if policy == "router" else verdict.controls[policy]
            lines.append(
                f'<circle cx="{x(seen.saved):.1f}" cy="{y(seen.lost):.1f}" r="4" fill="{color}" '
                f'fill-opacity="0.75"><title>{verdict.name}</title></circle>'
            )
    return "\n".join([*lines, "</svg>", ""])


def _aims(judged: Judged) -> Iterator[tuple[str, str, str, str, bool]]:
    saved, lost = mean_of(judged)
    by_name = {verdict.name: verdict for verdict in judged.pools}
    yield "mean saved", "≥ 28 %", "≥ 36 %", f"{100 * saved:.1f} %", saved >= 0.28
    yield "mean lost", "≤ 1.0 %", "≤ 0.5 %", f"{100 * lost:.2f} %", lost <= 0.01
    above = [v.name for v in judged.pools if v.routed.lost.low > judged.epsilon]
    yield "pools whose interval lies above ε", "none", "none", ", ".join(above) or "none", not above
    harmed = [v.name for v in (*judged.pools, *judged.left_out) if v.harmed]
    yield "harmed at 95 % after Holm", "none", "none", ", ".join(harmed) or "none", not harmed
    for name, (first, aim) in _SAVED.items():
        if name in by_name:
            seen = by_name[name].routed.saved.point
            yield (
                f"saved: {name}",
                f"≥ {100 * first:.0f} %",
                f"≥ {100 * aim:.0f} %",
                f"{100 * seen:.1f} %",
                seen >= first,
            )
    if judged.left_out:
        worst = max(judged.left_out, key=lambda v: v.routed.lost.point)
        most = worst.routed.lost.point
        yield "most lost with a source left out", "≤ 2 %", "≤ 1 %", f"{100 * most:.2f} % ({worst.name})", most <= 0.02
    if _GAIN_ONLY[0] in by_name:
        seen = by_name[_GAIN_ONLY[0]].switched
        yield f"switched: {_GAIN_ONLY[0]}", "0", "0", f"{100 * seen:.1f} %", seen == 0
    if _GAIN_ONLY[1] in by_name:
        seen = -by_name[_GAIN_ONLY[1]].routed.lost.point
        yield f"gained: {_GAIN_ONLY[1]}", "≥ 3.5 %", "≥ 6 %", f"{100 * seen:.1f} %", seen >= 0.035


def _margins(judged: Judged) -> Iterator[str]:
    """What the memories alone say of each margin, split by split, and which they advise."""
    splits = within(judged)
    yield f"| margin, standard errors | {' | '.join(f'memories of split {n}' for n in range(len(splits)))} |"
    yield f"| --: |{' --: |' * len(splits)}"
    for margin in MARGINS:
        yield f"| {margin:g} | {' | '.join(f'{_at(means[margin], 2)}' for means in splits)} |"
    words = ", ".join(f"{advised(means, judged.epsilon):g}" for means in splits)
    yield ""
    yield f"Advised: {words}; in use: {RULES.margin:g}."


def _row(verdict: Verdict) -> str:
    routed = verdict.routed
    return (
        f"| {verdict.name} ({verdict.queries}) | {', '.join(verdict.fallbacks)} | {_interval(routed.saved, 1)} | "
        f"{_interval(routed.lost, 2)} | {100 * verdict.switched:.0f} % | {'**yes**' if verdict.harmed else 'no'} |"
    )


def _interval(seen: Estimate, digits: int) -> str:
    return f"{100 * seen.point:.{digits}f} [{100 * seen.low:.{digits}f}, {100 * seen.high:.{digits}f}]"


def _at(seen: Points, digits: int = 1) -> str:
    return f"{100 * seen.saved:.{digits - 1}f} @ {100 * seen.lost:+.{digits}f}"


def _verdict(verdict: Verdict) -> dict[str, object]:
    return {
        "n": verdict.queries,
        "fallback": list(verdict.fallbacks),
        "saved": _estimate(verdict.routed.saved),
        "lost": _estimate(verdict.routed.lost),
        "switched": verdict.switched,
        "used": verdict.used,
        "expected_loss": verdict.expected_loss,
        "p_harm": verdict.routed.harm,
        "harmed": verdict.harmed,
        "controls": {policy: {"saved": seen.saved, "lost": seen.lost} for policy, seen in verdict.controls.items()},
    }


def _estimate(seen: Estimate) -> dict[str, float]:
    return {"point": seen.point, "low": seen.low, "high": seen.high}


def _quantile(values: Sequence[float] | Floats, share: float) -> float:
    return float(np.quantile(values, share))
