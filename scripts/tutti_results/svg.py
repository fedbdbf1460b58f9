"""Drawing: scales with sensible ticks, and a canvas that writes SVG.

Colours are classes, so that one picture serves light, dark and print: in a page the page's style decides, in a file of its own
(`standalone`) the light colours are written into it.
"""
import base64
import html
import math
import struct
import zlib

from tutti_results import words

# Okabe and Ito's colours, which remain apart for people who see fewer of them; shapes of marks tell libraries apart as well.
LIGHT = {"tutti": "#0072b2", "mpi": "#d55e00", "nccl": "#00805c", "ucc": "#a64d79", "gloo": "#8a6d00", "other": "#5b6470"}
DARK = {"tutti": "#56b4e9", "mpi": "#f0934a", "nccl": "#2fc79a", "ucc": "#dd9bc0", "gloo": "#e5c64a", "other": "#aab3be"}
INK = {"light": {"ink": "#1d2430", "soft": "#5d6876", "grid": "#e3e7ec", "paper": "#ffffff"},
       "dark": {"ink": "#e8ecf1", "soft": "#9aa6b4", "grid": "#2b333e", "paper": "#171c24"}}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def series_class(library):
    return library if library in LIGHT else "other"


def style(colours, ink):
    """The style of all pictures, with these colours."""
    rules = [f"text{{font-family:{FONT};font-size:12px;fill:{ink['soft']}}}", f".title-text{{fill:{ink['ink']};font-weight:600}}",
             f".grid{{stroke:{ink['grid']};stroke-width:1;fill:none}}", f".axis{{stroke:{ink['soft']};stroke-width:1;fill:none}}",
             f".halo{{stroke:{ink['paper']};stroke-width:4px;stroke-linejoin:round;fill:{ink['paper']}}}", ".end{text-anchor:end}.middle{text-anchor:middle}",
             ".line{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}.thin{stroke-width:1;opacity:.6}.dashed{stroke-dasharray:6 4}.band{stroke:none}",
             f".bound{{fill:none;stroke:{ink['soft']};stroke-width:1.5;stroke-dasharray:2 4;stroke-linecap:round}}",
             f".change{{stroke:{ink['ink']};stroke-width:1.2;stroke-dasharray:4 3;fill:none}}.strong{{font-weight:650}}",
             f".mark{{stroke:{ink['paper']};stroke-width:1.2}}"]
    for name, colour in colours.items():
        rules.append(f".s-{name} .line,.line.s-{name}{{stroke:{colour}}}.band.s-{name},.mark.s-{name}{{fill:{colour}}}text.s-{name}{{fill:{colour}}}")
    return "".join(rules)


class LogScale:
    """Values to pixels, by their logarithm."""

    def __init__(self, low, high, start, end):
        if high <= low:
            low, high = low / 1.5, high * 1.5
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value):
        value = min(max(value, self.low / 1e6), self.high * 1e6)
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def size_ticks(self, most):
        """Powers of two, so that 1 KiB and 1 MiB are among them where they fit."""
        first, last = math.ceil(math.log2(self.low) - 1e-9), math.floor(math.log2(self.high) + 1e-9)
        for step in (1, 2, 3, 5, 10, 20):
            exponents = [exponent for exponent in range(first, last + 1) if (exponent - 10) % step == 0]
            if len(exponents) <= most:
                break
        return [(2**exponent, words.size(2**exponent)) for exponent in exponents if exponent >= 0]

    def ticks(self, most, label):
        """1, 2, 5 in each decade, fewer where there are many decades."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        values = []
        for digits in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
            values = [digit * 10.0**exponent for exponent in range(first, last + 1) for digit in digits]
            values = [value for value in values if self.low <= value * (1 + 1e-9) and value <= self.high * (1 + 1e-9)]
            if len(values) <= most:
                break
        else:
            values = values[:: -(-len(values) // most)]
        return [(value, label(value)) for value in values]


class LinearScale:
    def __init__(self, low, high, start, end):
        self.low, self.high, self.start, self.end = low, high if high > low else low + 1, start, end

    def __call__(self, value):
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most, label):
        rough = (self.high - self.low) / max(1, most)
        unit = 10 ** math.floor(math.log10(rough))
        step = next(unit * digit for digit in (1, 2, 5, 10) if unit * digit >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [(index * step, label(index * step)) for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def plain(value):
    return f"{value:.10g}"


class Canvas:
    """Elements in the order in which they are drawn, on a given number of pixels."""

    def __init__(self, width, height, label):
        self.width, self.height, self.label = width, height, label
        self.elements = []

    def add(self, element):
        self.elements.append(element)

    def text(self, x, y, content, classes=""):
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}">{html.escape(content)}</text>')

    def label_on(self, x, y, content, classes=""):
        """Text with a halo, so that it can be read on lines."""
        escaped = html.escape(content)
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" class="halo {classes}" aria-hidden="true">{escaped}</text>')
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}">{escaped}</text>')

    def path(self, points, classes, closed=False):
        if len(points) >= 2:
            steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            self.add(f'<path d="M{steps}{"Z" if closed else ""}" class="{classes}"/>')

    def band(self, upper, lower, classes, opacity):
        if len(upper) >= 2:
            steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in [*upper, *reversed(lower)])
            self.add(f'<path d="M{steps}Z" class="band {classes}" fill-opacity="{opacity}"/>')

    def mark(self, x, y, library, told="", radius=4.0):
        shape = {"tutti": _circle, "mpi": _square, "nccl": _diamond, "ucc": _triangle, "gloo": _pentagon}.get(library, _triangle)(x, y, radius)
        title = f"<title>{html.escape(told)}</title>" if told else ""
        self.add(f'<{shape} class="mark s-{series_class(library)}">{title}</{shape.split(" ", 1)[0]}>')

    def image(self, x, y, width, height, png):
        encoded = base64.b64encode(png).decode("ascii")
        self.add(f'<image x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" '
                 f'style="image-rendering:pixelated" href="data:image/png;base64,{encoded}"/>')

    def to_svg(self, standalone=False):
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
                f'aria-label="{html.escape(self.label, quote=True)}"')
        body = "\n".join(self.elements)
        if not standalone:
            return f"{head}>\n{body}\n</svg>"
        ink = INK["light"]
        return (f'{head} width="{self.width}" height="{self.height}">\n<title>{html.escape(self.label)}</title>\n'
                f'<style>{style(LIGHT, ink)}</style>\n<rect width="100%" height="100%" fill="{ink["paper"]}"/>\n{body}\n</svg>\n')


def _circle(x, y, radius):
    return f'circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"'


def _square(x, y, radius):
    return f'rect x="{x - 0.9 * radius:.1f}" y="{y - 0.9 * radius:.1f}" width="{1.8 * radius:.1f}" height="{1.8 * radius:.1f}"'


def _diamond(x, y, radius):
    reach = 1.25 * radius
    return f'path d="M{x:.1f} {y - reach:.1f}L{x + reach:.1f} {y:.1f}L{x:.1f} {y + reach:.1f}L{x - reach:.1f} {y:.1f}Z"'


def _triangle(x, y, radius):
    reach = 1.2 * radius
    return f'path d="M{x:.1f} {y - reach:.1f}L{x + reach:.1f} {y + reach * 0.8:.1f}L{x - reach:.1f} {y + reach * 0.8:.1f}Z"'


def _pentagon(x, y, radius):
    corners = [(x + 1.2 * radius * math.sin(turn * 0.4 * math.pi), y - 1.2 * radius * math.cos(turn * 0.4 * math.pi)) for turn in range(5)]
    return f'path d="M{"L".join(f"{a:.1f} {b:.1f}" for a, b in corners)}Z"'


def apart(positions, least, low, high):
    """The positions, moved as little as possible so that labels at them do not cover one another."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    moved = [positions[index] for index in order]
    for _ in range(60):
        for index in range(len(moved) - 1):
            overlap = least - (moved[index + 1] - moved[index])
            if overlap > 0:
                moved[index] -= overlap / 2
                moved[index + 1] += overlap / 2
        moved = [min(max(value, low), high) for value in moved]
    result = [0.0] * len(positions)
    for index, value in zip(order, moved):
        result[index] = value
    return result


def png(pixels):
    """A PNG of rows of (r, g, b, a)."""
    height, width = len(pixels), len(pixels[0])
    data = b"".join(b"\0" + bytes(channel for pixel in line for channel in pixel) for line in pixels)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")
