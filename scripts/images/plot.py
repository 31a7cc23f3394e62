"""A plot of lines as SVG: axes with powers of two and ten, so that where a line bends is seen."""

from __future__ import annotations

import math

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 40, 50
COLORS = ["#2563c9", "#c2410c", "#15803d", "#7e22ce"]


def lines(title: str, found: dict[str, list[tuple[float, float]]], marks: dict[str, float]) -> str:
    """Lines by their names; `marks` has the place of each line that a dashed one shows."""
    xs = [x for points in found.values() for x, _ in points]
    ys = [y for points in found.values() for _, y in points]
    low, high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(x / min(xs)) / math.log(max(xs) / min(xs))

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(y / low) / math.log(high / low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-size="14">{title}</text>',
    ]
    for x in sorted(set(xs)):
        parts.append(f'<path d="M{across(x):.0f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{across(x):.0f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{x:g}</text>')
    y = low
    while y <= high:
        parts.append(f'<path d="M{LEFT} {up(y):.0f}H{WIDTH - RIGHT}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{up(y) + 4:.0f}" text-anchor="end">{y:g}</text>')
        y *= 10
    for color, (name, points) in zip(COLORS, found.items(), strict=False):
        path = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3.5" fill="{color}"/>' for x, y in points]
        last = up(points[-1][1]) - 10
        parts.append(f'<text x="{across(points[-1][0]):.0f}" y="{last:.0f}" text-anchor="end" fill="{color}">{name}</text>')
        if name in marks:
            place = across(marks[name])
            parts.append(f'<path d="M{place:.0f} {TOP}V{HEIGHT - BOTTOM}" stroke="{color}" stroke-dasharray="5 4"/>')
    return "\n".join([*parts, "</svg>", ""])
