# SPDX-License-Identifier: BSD-2-Clause
"""A bar chart as SVG: one bar a contender, its median as a number, a whisker from the least to the
most. No library: a picture is some rectangles and words."""

from html import escape

WIDTH, ROW, TOP, LEFT, RIGHT = 760, 30, 64, 210, 130
COLORS = {"sluice": "#1f6feb", "routed": "#57606a", "peer": "#a8b1bb"}
FONT = 'font-family="Helvetica, Arial, sans-serif"'


def kind(name):
    return next((k for k in ("sluice", "routed") if name.startswith(k)), "peer")


def number(x):
    if x >= 1000:
        return f"{x:,.0f}"
    return f"{x:.3g}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:.0f}"


def text(x, y, words, size=13, anchor="start", color="#1f2328", bold=False):
    weight = ' font-weight="bold"' if bold else ""
    return (f'<text x="{x:.0f}" y="{y:.0f}" {FONT} font-size="{size}" text-anchor="{anchor}" '
            f'fill="{color}"{weight}>{escape(words)}</text>')


def bar(i, name, low, middle, high, scale):
    y = TOP + i * ROW
    mid = y + ROW / 2
    lines = [text(LEFT - 10, mid + 4, name, anchor="end", bold=kind(name) == "sluice"),
             f'<rect x="{LEFT}" y="{y + 5}" width="{max(1, middle * scale):.1f}" height="{ROW - 10}" '
             f'rx="2" fill="{COLORS[kind(name)]}"/>']
    if high > low:
        x1, x2 = LEFT + low * scale, LEFT + high * scale
        lines += [f'<path d="M{x1:.1f} {mid}H{x2:.1f}M{x1:.1f} {mid - 4}v8M{x2:.1f} {mid - 4}v8" '
                  'stroke="#1f2328" stroke-width="1.2" fill="none"/>']
    lines.append(text(LEFT + max(middle, high) * scale + 8, mid + 4, number(middle)))
    return lines


def bars(title, unit, better, rows):
    """rows: (name, least, median, most). The picture as text."""
    most = max((r[3] for r in rows), default=0) or 1
    scale = (WIDTH - LEFT - RIGHT) / most
    height = TOP + len(rows) * ROW + 16
    hint = {"more": "more is better", "less": "less is better"}.get(better, "")
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
             f'viewBox="0 0 {WIDTH} {height}">',
             f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
             text(16, 26, title, size=16, bold=True),
             text(16, 46, ", ".join(filter(None, (unit, hint))), size=12, color="#57606a")]
    for i, row in enumerate(rows):
        lines += bar(i, *row, scale)
    return "\n".join([*lines, "</svg>", ""])
