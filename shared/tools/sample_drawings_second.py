"""More drawings of things for the sample corpus."""

from __future__ import annotations

import math

from sample_svg import SKY, SKY_BOX, area, ball, box, circle, cloud, gradient, oval, path, svg


def lighthouse() -> str:
    """Return a striped lighthouse on a rock at dusk."""
    dusk = gradient("dusk", "#27305f", "#f3a46b")
    bands = "".join(
        area(
            f"M{164 - i * 4 - 4} {170 + i * 40} L{236 + i * 4 + 4} {170 + i * 40} "
            f"L{236 + i * 4 + 8} {210 + i * 40} L{164 - i * 4 - 8} {210 + i * 40} Z",
            ("#f5f5f5", "#cf2f2f")[i % 2],
        )
        for i in range(4)
    )
    return svg(
        box(0, 0, 400, 400, "url(#dusk)")
        + box(0, 320, 400, 80, "#1d3d63")
        + area("M200 112 L0 50 L0 150 Z", "#ffe9a044")
        + area("M200 112 L400 60 L400 160 Z", "#ffe9a066")
        + area("M60 340 C110 300 290 300 350 340 L400 400 L20 400 Z", "#4b4038")
        + bands
        + box(146, 156, 108, 14, "#333")
        + box(168, 90, 64, 66, "#ffe9a0", stroke="#333", line=5)
        + path("M190 92 V154 M211 92 V154", "#333", line=3)
        + area("M156 92 L200 48 L244 92 Z", "#a82222")
        + path("M200 48 V32", "#333", line=4)
        + box(188, 290, 24, 40, "#333", radius=10)
        + box(192, 224, 16, 22, "#333", radius=6),
        defs=dusk,
    )


def balloon() -> str:
    """Return a hot-air balloon over hills."""
    clip = (
        '<clipPath id="bag"><path d="M200 300 C120 230 92 190 92 136 A108 104 0 0 1 308 136 '
        'C308 190 280 230 200 300 Z"/></clipPath>'
    )
    return svg(
        SKY_BOX
        + cloud(30, 190)
        + cloud(310, 120, 0.8)
        + area(
            "M0 350 C80 300 150 330 210 346 C280 318 350 320 400 340 L400 400 L0 400 Z", "#6fae5c"
        )
        + '<g clip-path="url(#bag)">'
        + box(80, 20, 240, 300, "#e23e3e")
        + oval(200, 150, 82, 190, "#f6c445")
        + oval(200, 150, 50, 190, "#e23e3e")
        + oval(200, 150, 18, 190, "#f6c445")
        + box(80, 120, 240, 26, "#2d5fa8")
        + "</g>"
        + path("M172 274 L180 326 M228 274 L220 326", "#4c3b2a", line=2.5)
        + box(176, 324, 48, 38, "#9a6a37", radius=6)
        + path("M178 336 H222 M178 348 H222", "#6d4721", line=3),
        defs=SKY + clip,
    )


def teapot() -> str:
    """Return a porcelain teapot with a cup."""
    glaze = ball("glaze", "#ffffff", "#b9d0dc")
    return svg(
        box(0, 0, 400, 400, "#ece2d0")
        + box(0, 290, 400, 110, "#8b5e3c")
        + path("M252 190 C330 160 330 270 246 266", "#a9c4d2", line=18)
        + area("M108 214 C70 210 74 160 34 150 L30 166 C52 182 50 252 116 268 Z", "#a9c4d2")
        + oval(178, 230, 92, 78, "url(#glaze)")
        + oval(178, 160, 52, 12, "#9ab8c7")
        + area("M130 160 C140 132 216 132 226 160 Z", "#dbe8ee")
        + circle(178, 134, 12, "#3f6f94")
        + box(138, 300, 80, 12, "#a9c4d2", radius=5)
        + path("M130 236 C150 210 170 262 190 230 C206 206 220 250 236 226", "#2c5f8a", line=5)
        + "".join(circle(x, y, 7, "#2c5f8a") for x, y in ((140, 262), (178, 274), (216, 260)))
        + area("M282 276 L366 276 C364 316 346 330 324 330 C302 330 284 316 282 276 Z", "#f8fbfc")
        + oval(324, 276, 42, 9, "#b98a3e")
        + path(
            "M308 258 q-8 -14 0 -26 q8 -12 0 -24 M336 258 q-8 -14 0 -26 q8 -12 0 -24",
            "#ffffffbb",
            line=4,
        ),
        defs=glaze,
    )


def airplane() -> str:
    """Return a passenger aeroplane in the sky."""
    windows = "".join(box(150 + i * 17, 190, 9, 12, "#2d4a66", radius=3) for i in range(9))
    return svg(
        SKY_BOX
        + cloud(40, 320, 1.3)
        + cloud(270, 90)
        + cloud(250, 350)
        + '<g transform="rotate(-10 200 200)">'
        + area("M74 190 L40 118 L72 118 L118 186 Z", "#d8453b")
        + area("M196 190 L150 120 L178 120 L250 190 Z", "#9fb0bf")
        + area(
            "M60 190 C90 172 290 168 330 182 C360 190 374 204 372 210 C366 224 320 232 280 "
            "232 L130 232 C90 230 62 214 60 190 Z",
            "#fbfcfd",
        )
        + area(
            "M64 206 C150 216 300 220 371 212 C362 224 320 232 280 232 L130 232 C100 231 76 "
            "220 64 206 Z",
            "#c9d4de",
        )
        + area("M190 214 L120 300 L152 300 L262 216 Z", "#b3c2cf")
        + area("M74 206 L44 232 L66 232 L112 210 Z", "#b3c2cf")
        + box(176, 252, 46, 20, "#e7edf2", radius=9)
        + box(214, 252, 8, 20, "#5d7285", radius=3)
        + windows
        + area("M330 186 C346 188 358 196 362 202 L332 202 Z", "#2d4a66")
        + "</g>",
        defs=SKY,
    )


def mushroom() -> str:
    """Return a red toadstool with white spots."""
    return svg(
        box(0, 0, 400, 400, "#cfe3c0")
        + area("M0 330 C120 300 280 300 400 330 L400 400 L0 400 Z", "#5c8a42")
        + area("M164 206 C170 270 156 318 142 346 L262 346 C244 318 232 270 238 206 Z", "#f4ead6")
        + area("M214 206 C216 270 226 318 240 346 L262 346 C244 318 232 270 238 206 Z", "#d8c9ab")
        + area("M150 236 C180 262 222 262 254 236 L246 222 L158 222 Z", "#e9dcc1")
        + area(
            "M50 216 C54 112 130 62 200 62 C270 62 346 112 350 216 C300 236 100 236 50 216 Z",
            "url(#cap)",
        )
        + "".join(
            oval(x, y, rx, ry, "#fff8ee")
            for x, y, rx, ry in (
                (200, 96, 26, 17),
                (122, 136, 22, 20),
                (278, 140, 24, 20),
                (194, 166, 28, 22),
                (92, 192, 18, 13),
                (306, 194, 18, 13),
                (146, 206, 14, 8),
                (248, 206, 16, 9),
            )
        )
        + "".join(
            path(f"M{x} 372 q-6 -24 -14 -34 M{x} 372 q2 -26 8 -38", "#3d6b2a", line=4)
            for x in (50, 110, 300, 356)
        ),
        defs=ball("cap", "#ef5a4c", "#a31616"),
    )


def snowman(step: int = 0) -> str:
    """Return a snowman while snow falls; ``step`` moves the flakes."""
    flakes = "".join(
        circle((i * 67) % 400, (i * 97 + step * 32) % 400, 2 + i % 3, "#ffffff") for i in range(60)
    )
    buttons = "".join(circle(200, y, 6, "#333") for y in (196, 222, 276))
    return svg(
        box(0, 0, 400, 400, "#7fa6cc")
        + area("M0 330 C140 300 280 310 400 336 L400 400 L0 400 Z", "#f4f8fc")
        + path(
            "M142 206 L76 160 M92 172 L84 150 M258 206 L326 166 M308 176 L320 190",
            "#5b3a1c",
            line=7,
        )
        + circle(200, 296, 78, "url(#snow)")
        + circle(200, 206, 58, "url(#snow)")
        + circle(200, 126, 44, "url(#snow)")
        + box(150, 84, 100, 12, "#222", radius=4)
        + box(166, 30, 68, 58, "#222")
        + box(166, 70, 68, 14, "#c0392b")
        + circle(184, 118, 5, "#222")
        + circle(216, 118, 5, "#222")
        + area("M198 126 L246 136 L198 140 Z", "#ee8322")
        + path("M182 148 Q200 160 218 148", "#222", line=4)
        + path("M160 164 Q200 186 240 164", "#c0392b", line=15)
        + path("M228 172 L240 222", "#c0392b", line=15)
        + buttons
        + flakes,
        defs=ball("snow", "#ffffff", "#cddcea"),
    )


def tractor() -> str:
    """Return a green tractor on a field."""
    rows = "".join(
        path(f"M{x} 400 L{150 + x * 0.25} 300", "#7b5a34", line=5) for x in range(-200, 640, 60)
    )
    big = (
        circle(128, 270, 74, "#26292c")
        + circle(128, 270, 40, "#f0c22b")
        + circle(128, 270, 13, "#7a6315")
    )
    small = (
        circle(310, 300, 44, "#26292c")
        + circle(310, 300, 23, "#f0c22b")
        + circle(310, 300, 8, "#7a6315")
    )
    lugs = "".join(
        path(
            f"M{128 + 66 * math.cos(a):.1f} {270 + 66 * math.sin(a):.1f} "
            f"L{128 + 78 * math.cos(a):.1f} {270 + 78 * math.sin(a):.1f}",
            "#26292c",
            line=9,
        )
        for a in (i * math.pi / 10 for i in range(20))
    )
    return svg(
        SKY_BOX
        + cloud(280, 70)
        + box(0, 296, 400, 104, "#a67c4b")
        + rows
        + box(96, 96, 112, 14, "#1f6b34", radius=4)
        + path("M112 110 L106 200 M196 110 L204 200", "#1f6b34", line=9)
        + area("M118 112 L190 112 L197 200 L112 200 Z", "#cfeaf4")
        + box(90, 196, 150, 70, "#2c8a45", radius=10)
        + area("M200 190 L340 196 C352 200 356 230 354 272 L200 272 Z", "#2c8a45")
        + "".join(path(f"M{x} 214 V254", "#1a5a2c", line=4) for x in (270, 286, 302, 318, 334))
        + box(262, 128, 12, 66, "#444")
        + box(258, 122, 20, 10, "#444", radius=4)
        + circle(268, 104, 10, "#77777799")
        + circle(282, 84, 14, "#77777766")
        + path("M212 176 L196 150", "#222", line=6)
        + circle(350, 216, 8, "#fff3b0")
        + lugs
        + big
        + small,
        defs=SKY,
    )
