"""Figures as SVG whose text and lines follow the page's colors, light or dark."""

from __future__ import annotations

import io
import re

from matplotlib import rc_context
from matplotlib.figure import Figure

from harness.analysis.figure_style import HALO

STYLE = (
    "svg.figure text { fill: currentColor } svg.figure * { stroke-linejoin: round } "
    f"svg.figure g[id*={HALO}] text {{ paint-order: stroke; stroke: var(--page); stroke-width: 3px }}"
)
"""The styles that a page with such elements needs, besides its `color`, `--page` and `--faint` (the color of grids)."""


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element without a background; `name` makes its ids unique."""
    for axis in figure.axes:
        axis.set_facecolor("none")
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Ids such as `axes_1` are the same in all figures, and styles of an inlined element apply to the whole page.
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = text.replace("<svg ", '<svg class="figure" ', 1)
    text = text.replace("#000000", "currentColor")
    return re.sub("(?i)#e4e4e4", "var(--faint)", text)


def standalone(element: str) -> str:
    """Return the content of an SVG file: the element, with the colors that a page would set."""
    style = (
        f"<style>{STYLE} "
        "svg { color: #222; --faint: #e4e4e4; --page: #fff; background: var(--page) } "
        "@media (prefers-color-scheme: dark) { svg { color: #ddd; --faint: #3a3f45; --page: #15191d } }</style>"
    )
    return element.replace(">", f">{style}", 1)
