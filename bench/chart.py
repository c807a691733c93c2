"""Lines over time as SVG: panels below each other, each with its own scale."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_COLORS = ("#3366cc", "#dc6b2f", "#2a9d5c", "#8e44ad", "#c0392b", "#7f8c8d", "#b8860b")
_WIDTH, _PANEL, _LEFT, _RIGHT, _TOP = 900, 150, 60, 150, 26


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure of several things over time."""

    title: str
    lines: Mapping[str, Sequence[float]]
    """By name; a value for each of the chart's times."""


def chart(minutes: Sequence[float], panels: Sequence[Panel]) -> str:
    """The panels; scales begin at 0."""
    height = len(panels) * (_PANEL + _TOP) + 30
    last = max(minutes[-1], 1e-9)
    drawn = [part for number, panel in enumerate(panels) for part in _panel(panel, number, minutes, last)]
    ticks = (
        f'<text x="{_x(last * n / 6, last):.0f}" y="{height - 10}" text-anchor="middle">{last * n / 6:.1f}</text>'
        for n in range(7)
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
            'font-size="11">',
            f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
            *drawn,
            *ticks,
            f'<text x="{_WIDTH - _RIGHT + 24}" y="{height - 10}">minutes</text>',
            "</svg>",
            "",
        ]
    )


def _panel(panel: Panel, number: int, minutes: Sequence[float], last: float) -> Iterator[str]:
    bottom = (number + 1) * (_PANEL + _TOP)
    most = max((value for line in panel.lines.values() for value in line), default=0.0) or 1.0
    yield f'<text x="{_LEFT}" y="{bottom - _PANEL - 8}" font-weight="bold">{escape(panel.title)}</text>'
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (_PANEL - 10)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.0f}" y2="{y:.0f}" stroke="#e5e5e5"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{share * most:.4g}</text>'
    for place, (name, values) in enumerate(panel.lines.items()):
        color = _COLORS[place % len(_COLORS)]
        points = " ".join(
            f"{_x(at, last):.1f},{bottom - value / most * (_PANEL - 10):.1f}"
            for at, value in zip(minutes, values, strict=True)
        )
        yield f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.3"/>'
        y = bottom - _PANEL + 16 + 15 * place
        yield f'<text x="{_WIDTH - _RIGHT + 8}" y="{y}" fill="{color}">{escape(name)}</text>'


def _x(minutes: float, last: float) -> float:
    return _LEFT + minutes / last * (_WIDTH - _LEFT - _RIGHT)
