"""Drawings of things, made for the sample corpus as vector graphics."""

from __future__ import annotations

import math

from sample_svg import SKY, SKY_BOX, area, ball, box, circle, cloud, gradient, oval, path, svg


def sailboat() -> str:
    """Return a boat with two sails on the sea."""
    sea = gradient("sea", "#2f80c2", "#123f73")
    return svg(
        SKY_BOX
        + circle(325, 75, 34, "#ffe27a")
        + cloud(60, 80)
        + cloud(220, 50, 0.7)
        + box(0, 270, 400, 130, "url(#sea)")
        + path("M205 60 V290", "#6b4423", line=7)
        + area("M212 66 C290 130 300 210 306 262 L212 262 Z", "#fdfdf8")
        + area("M196 84 C150 150 118 210 104 262 L196 262 Z", "#e8513f")
        + area("M212 205 L296 205 C302 230 304 250 306 262 L212 262 Z", "#e3e8ee")
        + area(
            "M80 278 L330 278 C318 318 292 332 262 334 L140 334 C112 330 92 310 80 278 Z", "#8a4b22"
        )
        + area("M80 278 L330 278 L326 292 L85 292 Z", "#f5efe2")
        + path(
            "M20 342 q20 -12 40 0 t40 0 t40 0 t40 0 t40 0 t40 0 t40 0 t40 0 t40 0",
            "#bfe0f6",
            line=4,
        )
        + path(
            "M0 372 q20 -12 40 0 t40 0 t40 0 t40 0 t40 0 t40 0 t40 0 t40 0 t40 0 t40 0",
            "#7db7e0",
            line=4,
        ),
        defs=SKY + sea,
    )


def cottage() -> str:
    """Return a small house with a garden."""
    return svg(
        SKY_BOX
        + cloud(50, 70)
        + box(0, 290, 400, 110, "#7fb758")
        + box(262, 92, 34, 80, "#9c4a3c")
        + box(256, 86, 46, 14, "#7d382c")
        + box(90, 190, 220, 140, "#f6e3bd")
        + box(90, 300, 220, 30, "#b9a07a")
        + area("M62 200 L200 92 L338 200 Z", "#b5483a")
        + area("M62 200 L200 92 L208 98 L84 200 Z", "#d0614f")
        + box(176, 236, 52, 94, "#70452a", radius=4)
        + circle(218, 286, 4, "#f1c232")
        + "".join(
            box(x, 226, 50, 50, "#bfe4f5", stroke="#fff", line=6)
            + path(f"M{x + 25} 228 v46 M{x + 2} 251 h46", "#fff", line=4)
            for x in (108, 246)
        )
        + circle(200, 162, 17, "#bfe4f5", "#fff", 5)
        + area("M176 330 L228 330 L262 400 L142 400 Z", "#d9c9a5")
        + box(354, 250, 14, 70, "#6b4423")
        + circle(361, 220, 44, "#4f8f3a")
        + circle(342, 240, 28, "#5da344")
        + "".join(
            circle(x, 350 + x % 3 * 9, 6, c)
            for x, c in zip(range(14, 130, 19), ("#e84c6a", "#f6c945", "#fff") * 3, strict=False)
        ),
        defs=SKY,
    )


def bicycle() -> str:
    """Return a city bicycle seen from the side."""
    wheel = ""
    for x in (105, 297):
        spokes = "".join(
            f"M{x} 265 L{x + 72 * math.cos(a):.1f} {265 + 72 * math.sin(a):.1f} "
            for a in (i * math.pi / 9 for i in range(18))
        )
        wheel += path(spokes, "#9aa3ad", line=1.2) + circle(x, 265, 76, "none", "#2b2b2b", 9)
        wheel += circle(x, 265, 69, "none", "#c9ced4", 3) + circle(x, 265, 8, "#555")
    frame = path(
        "M105 265 L158 165 L268 165 L196 268 L105 265 M158 165 L196 268 M148 142 "
        "L158 165 M268 165 L297 265 M260 128 L268 165",
        "#d1362f",
        line=9,
    )
    return svg(
        box(0, 0, 400, 400, "#eef3f0")
        + oval(200, 346, 180, 12, "#cdd6d0")
        + wheel
        + frame
        + path("M196 268 L105 258 M196 278 L105 272", "#444", line=2.5)
        + circle(196, 268, 21, "none", "#444", 6)
        + path("M196 268 L216 306", "#333", line=6)
        + box(204, 302, 28, 9, "#222", radius=3)
        + area("M116 134 C128 124 168 128 184 134 C184 146 158 148 142 148 Z", "#3a2a20")
        + path("M260 128 C280 112 300 116 308 132", "#333", line=7)
        + path("M298 126 L312 142", "#3a2a20", line=9)
    )


def guitar() -> str:
    """Return an acoustic guitar."""
    wood = ball("wood", "#f3c27a", "#a9622a")
    strings = "".join(path(f"M{192 + i * 3.2} 60 V318", "#eee", line=1) for i in range(6))
    return svg(
        box(0, 0, 400, 400, "#31506b")
        + '<g transform="translate(16 44) rotate(28 200 220) scale(0.9)">'
        + area(
            "M200 178 C148 172 134 206 148 234 C156 250 122 262 120 306 C120 356 164 374 "
            "200 374 C236 374 280 356 280 306 C278 262 244 250 252 234 C266 206 252 172 "
            "200 178 Z",
            "url(#wood)",
        )
        + path(
            "M200 178 C148 172 134 206 148 234 C156 250 122 262 120 306 C120 356 164 374 "
            "200 374 C236 374 280 356 280 306 C278 262 244 250 252 234 C266 206 252 172 "
            "200 178 Z",
            "#5a3013",
            line=4,
        )
        + circle(200, 258, 30, "#2a160a", "#e7c58f", 5)
        + box(187, 46, 26, 196, "#4a2a16")
        + box(160, 318, 80, 13, "#3b200f", radius=4)
        + "".join(path(f"M188 {y} H212", "#cfcfcf", line=1.5) for y in range(70, 236, 17))
        + box(180, -22, 40, 72, "#6b3a1a", radius=7)
        + "".join(circle(x, y, 5, "#e8e8e8") for x in (176, 224) for y in (-10, 12, 34))
        + strings
        + "</g>",
        defs=wood,
    )


def apple() -> str:
    """Return a red apple with a leaf."""
    return svg(
        box(0, 0, 400, 400, "#f4f0e6")
        + oval(205, 345, 120, 16, "#d8d0bd")
        + area(
            "M200 130 C150 88 66 112 70 216 C74 302 140 352 178 344 C192 340 208 340 222 344 "
            "C260 352 326 302 330 216 C334 112 250 88 200 130 Z",
            "url(#skin)",
        )
        + area(
            "M200 134 C186 122 176 118 168 118 C186 140 214 140 232 118 C224 118 214 122 200 134 Z",
            "#8d1616",
        )
        + path("M200 132 C198 104 206 80 222 62", "#5b3a1c", line=9)
        + area("M214 92 C236 52 290 50 312 62 C300 100 250 116 214 92 Z", "#5fa33b")
        + path("M220 90 C250 84 280 72 304 64", "#3d7a22", line=2)
        + oval(122, 188, 16, 42, "#ffffff66", 18),
        defs=ball("skin", "#f26a5a", "#b01c1c"),
    )


def umbrella() -> str:
    """Return an open striped umbrella in the rain."""
    rain = "".join(
        path(f"M{(i * 53) % 400} {(i * 91) % 380} l-6 18", "#9db8cc", line=2) for i in range(46)
    )
    dome = (
        '<clipPath id="dome"><path d="M50 205 C58 112 124 66 200 66 C276 66 342 112 350 205 '
        'Q312 176 275 205 Q237 176 200 205 Q162 176 125 205 Q87 176 50 205 Z"/></clipPath>'
    )
    panels = (
        box(0, 0, 400, 240, "#e6b422")
        + area("M200 60 C150 100 128 160 125 215 L200 215 Z", "#2f6db5")
        + area("M200 60 C276 66 360 100 360 215 L275 215 C272 160 250 100 200 60 Z", "#2f6db5")
    )
    return svg(
        box(0, 0, 400, 400, "#5c7688")
        + rain
        + path("M200 50 V322 C200 362 146 362 146 324", "#3a2616", line=9)
        + f'<g clip-path="url(#dome)">{panels}</g>',
        defs=dome,
    )


def cactus() -> str:
    """Return a flowering cactus in a clay pot."""

    def stem(d: str) -> str:
        return path(d, "#2f7d43", line=58) + path(d, "#46a35b", line=40)

    spines = "".join(
        path(f"M{x} {y} l-5 -6 M{x} {y} l6 -5", "#f3f7d9", line=2)
        for x in (188, 200, 213)
        for y in range(100, 290, 26)
    )
    return svg(
        box(0, 0, 400, 400, "#fbe6c9")
        + box(0, 330, 400, 70, "#d8a979")
        + stem("M200 300 V92")
        + path("M200 230 H118 V160", "#2f7d43", line=40)
        + path("M200 230 H118 V160", "#46a35b", line=26)
        + path("M200 200 H284 V126", "#2f7d43", line=40)
        + path("M200 200 H284 V126", "#46a35b", line=26)
        + stem("M200 300 V92")
        + spines
        + "".join(
            oval(200 + 13 * math.cos(a), 60 + 13 * math.sin(a), 11, 7, "#ee5d8c", math.degrees(a))
            for a in (i * math.pi / 3 for i in range(6))
        )
        + circle(200, 60, 7, "#ffd84d")
        + area("M134 296 L266 296 L250 380 L150 380 Z", "#b9582f")
        + box(126, 282, 148, 26, "#cf6b3d", radius=4)
    )
