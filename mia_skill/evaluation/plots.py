"""Plots as SVG text: no library, nothing loaded from elsewhere."""

from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["bars", "curves"]

WIDTH = 760
ROW = 26
LEFT = 170
RIGHT = 70
HEIGHT = 260
COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#16a085", "#7f8c8d", "#2c3e50", "#e67e22", "#c2185b")


def bars(
    title: str, values: Mapping[str, tuple[float, float, float] | None], *, most: float | None = None, form: str = ".3f"
) -> str:
    """A bar a name: value, low and high end of its interval. None is written as such, never drawn as nothing."""
    top = most or max((one[2] for one in values.values() if one), default=1.0) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / top
    parts = []
    for place, (name, value) in enumerate(values.items()):
        y = 34 + place * ROW
        parts.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
        if value is None:
            parts.append(f'<text x="{LEFT + 4}" y="{y + 12}">none</text>')
            continue
        middle, low, high = (LEFT + min(one, top) * scale for one in value)
        colour = COLOURS[place % len(COLOURS)]
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{middle - LEFT:.1f}" height="16" fill="{colour}"/>')
        if value[2] > value[1]:
            parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 8}" y2="{y + 8}" stroke="#000"/>')
        end = max(middle, high) + 6
        parts.append(f'<text x="{end:.1f}" y="{y + 12}">{value[0]:{form}}</text>')
    return framed(title, 44 + len(values) * ROW, parts)


def curves(title: str, lines: Mapping[str, Sequence[float]], *, most: float | None = None) -> str:
    """A line a name, from the first question to the last."""
    top = most or max((max(line) for line in lines.values() if line), default=1.0) or 1.0
    width, floor = WIDTH - 60 - LEFT, HEIGHT - 24
    parts = [
        f'<line x1="50" x2="{50 + width}" y1="{floor}" y2="{floor}" stroke="#888"/>',
        f'<text x="44" y="{floor}" text-anchor="end">0</text>',
        f'<text x="44" y="44" text-anchor="end">{top:.2g}</text>',
        f'<text x="{50 + width}" y="{HEIGHT - 8}" text-anchor="end">questions answered</text>',
    ]
    for place, (name, line) in enumerate(lines.items()):
        colour = COLOURS[place % len(COLOURS)]
        step = width / max(1, len(line) - 1)
        dots = " ".join(
            f"{50 + at * step:.1f},{floor - min(one, top) / top * (floor - 40):.1f}" for at, one in enumerate(line)
        )
        dash = ' stroke-dasharray="5 3"' if place >= len(COLOURS) else ""
        parts.append(f'<polyline points="{dots}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')
        parts.append(f'<text x="{60 + width}" y="{46 + place * 17}" fill="{colour}">{escape(name)}</text>')
    return framed(title, max(HEIGHT, 56 + len(lines) * 17), parts)


def framed(title: str, height: int, parts: Sequence[str]) -> str:
    """The picture with its title, which is also what a screen reader says."""
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}">'
    return f'{head}<text x="8" y="18" font-weight="bold">{escape(title)}</text>{"".join(parts)}</svg>'
