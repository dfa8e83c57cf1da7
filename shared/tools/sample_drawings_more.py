"""The last drawings for the sample corpus, and the table that names every one of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import sample_drawings as first
import sample_drawings_second as second
from PIL import Image
from sample_svg import SKY, SKY_BOX, ball, box, gradient, path, render, save, svg, text


def rocket() -> str:
    """Return a rocket that takes off."""
    smoke = "".join(
        f'<circle cx="{x}" cy="{y}" r="{r}" fill="#e8e4de"/>'
        for x, y, r in (
            (90, 386, 46),
            (150, 376, 44),
            (250, 376, 44),
            (312, 386, 48),
            (200, 390, 50),
        )
    )
    stars = "".join(
        f'<circle cx="{i * 83 % 400}" cy="{i * 47 % 260}" r="{1 + i % 2}" fill="#fff"/>'
        for i in range(40)
    )
    return svg(
        box(0, 0, 400, 400, "url(#space)")
        + stars
        + '<path d="M170 284 Q200 420 230 284 Z" fill="#f7a325"/>'
        + '<path d="M182 284 Q200 366 218 284 Z" fill="#fff1a8"/>'
        + smoke
        + '<path d="M152 220 L108 290 L156 278 Z M248 220 L292 290 L244 278 Z" fill="#c4342d"/>'
        + '<path d="M200 34 C252 84 258 190 242 282 L158 282 C142 190 148 84 200 34 Z" '
        'fill="url(#hull)"/>'
        + '<path d="M200 34 C222 56 236 86 243 118 L157 118 C164 86 178 56 200 34 Z" '
        'fill="#c4342d"/>'
        + '<circle cx="200" cy="164" r="25" fill="#2c6aa0" stroke="#52606d" stroke-width="7"/>'
        + '<path d="M186 154 A18 18 0 0 1 204 146" stroke="#bfe0f6" stroke-width="5" fill="none"/>'
        + path("M156 232 H244", "#52606d", line=4)
        + box(172, 280, 56, 12, "#3a4149", radius=3),
        defs=gradient("space", "#0c1238", "#5a4a8a")
        + gradient("hull", "#ffffff", "#a9b6c2", horizontal=True),
    )


def alarm_clock() -> str:
    """Return a twin-bell alarm clock at ten past ten."""
    ticks = "".join(
        path(
            f"M{200 + 92 * math.cos(a):.1f} {222 + 92 * math.sin(a):.1f} "
            f"L{200 + 102 * math.cos(a):.1f} {222 + 102 * math.sin(a):.1f}",
            "#333",
            line=6 if i % 3 == 0 else 3,
        )
        for i, a in enumerate(i * math.pi / 6 for i in range(12))
    )
    return svg(
        box(0, 0, 400, 400, "#f6dcc4")
        + box(0, 340, 400, 60, "#a9744f")
        + path("M140 318 L112 354 M260 318 L288 354", "#8c2f2a", line=18)
        + '<path d="M72 126 A56 56 0 0 1 162 84 Z" fill="#e1b13c"/>'
        + '<path d="M328 126 A56 56 0 0 0 238 84 Z" fill="#e1b13c"/>'
        + path("M116 112 L136 136 M284 112 L264 136", "#8c2f2a", line=9)
        + path("M200 84 V64", "#555", line=7)
        + box(184, 48, 32, 18, "#555", radius=6)
        + '<circle cx="200" cy="222" r="130" fill="url(#case)"/>'
        + '<circle cx="200" cy="222" r="108" fill="#fffdf4"/>'
        + ticks
        + path("M200 222 L152 192", "#222", line=9)
        + path("M200 222 L266 172", "#222", line=6)
        + path("M200 222 L214 296", "#c0392b", line=3)
        + '<circle cx="200" cy="222" r="8" fill="#222"/>',
        defs=ball("case", "#e2574c", "#8c1f1a"),
    )


def bullet_train() -> str:
    """Return a white high-speed train on a viaduct."""
    windows = "".join(box(16 + i * 27, 196, 17, 17, "#263c52", radius=4) for i in range(7))
    pillars = "".join(box(x, 292, 26, 108, "#9b9b95") for x in (40, 190, 340))
    return svg(
        SKY_BOX + '<path d="M0 292 L90 190 L160 262 L240 170 L340 280 L400 230 L400 330 L0 330 Z" '
        'fill="#8fb3a0"/>'
        + '<path d="M0 330 H400 V400 H0 Z" fill="#86b45e"/>'
        + pillars
        + box(0, 272, 400, 22, "#b9b9b2")
        + path("M0 272 H400", "#6d6d68", line=3)
        + '<path d="M0 172 L214 172 C288 176 350 216 376 250 C380 258 374 264 364 264 L0 264 Z" '
        'fill="url(#body)"/>'
        + '<path d="M0 228 L352 228 C364 238 372 246 376 252 L0 240 Z" fill="#1d5fae"/>'
        + '<path d="M236 186 C268 192 292 204 306 214 L246 212 C238 206 236 196 236 186 Z" '
        'fill="#263c52"/>'
        + windows
        + box(208, 190, 20, 48, "#dfe6ec", stroke="#9aa8b5", radius=3)
        + '<ellipse cx="350" cy="238" rx="11" ry="5" fill="#fff3b0"/>'
        + "".join(f'<circle cx="{x}" cy="266" r="9" fill="#444"/>' for x in (40, 80, 220, 260)),
        defs=SKY + gradient("body", "#ffffff", "#c8d3dc"),
    )


def bread() -> str:
    """Return a crusty loaf on a board with two slices."""
    cuts = "".join(path(f"M{x} 196 q14 -34 44 -46", "#f1d29a", line=11) for x in (110, 164, 218))
    slices = "".join(
        f'<path d="M{x} 316 L{x} 262 C{x - 12} 232 {x + 76} 232 {x + 64} 262 L{x + 64} 316 Z" '
        'fill="#f6e2b8" stroke="#a8642a" stroke-width="7"/>'
        for x in (236, 286)
    )
    return svg(
        box(0, 0, 400, 400, "#dfe8e4")
        + box(20, 286, 360, 46, "#b98552", radius=16)
        + box(20, 312, 360, 20, "#96663a", radius=10)
        + '<path d="M52 284 C30 190 110 128 190 132 C290 134 340 190 322 284 Z" '
        'fill="url(#crust)"/>'
        + cuts
        + slices
        + "".join(
            f'<circle cx="{x}" cy="{y}" r="3" fill="#f7eccf"/>'
            for x, y in ((90, 230), (130, 250), (180, 226), (150, 276), (96, 268))
        ),
        defs=ball("crust", "#dd9a4e", "#8d4d1c"),
    )


def ladder() -> str:
    """Return a wooden ladder that leans on a wall."""
    bricks = "".join(
        box(x - 20 * (y // 28 % 2), y, 56, 24, ("#c98d6b", "#bf8260", "#d19a79")[(x + y) % 3])
        for y in range(0, 330, 28)
        for x in range(0, 440, 60)
    )
    rungs = "".join(
        path(f"M{132 + 11 * i} {324 - 34 * i} h{70}", "#b9822f", line=9) for i in range(9)
    )
    return svg(
        box(0, 0, 400, 400, "#ead7c6")
        + bricks
        + box(0, 330, 400, 70, "#8b9a7a")
        + rungs
        + path("M118 366 L232 14", "#d9a048", line=13)
        + path("M190 366 L304 14", "#d9a048", line=13)
        + path("M114 366 L228 14 M186 366 L300 14", "#f0c57c", line=3)
    )


def watering_can() -> str:
    """Return a watering can beside a sprouting plant."""
    drops = "".join(
        f'<ellipse cx="{x}" cy="{y}" rx="3" ry="6" fill="#4c93cf"/>'
        for x, y in ((60, 186), (48, 214), (70, 222), (56, 250), (76, 262), (42, 272))
    )
    return svg(
        box(0, 0, 400, 400, "#eaf3e2")
        + box(0, 318, 400, 82, "#8a6a45")
        + path("M286 176 C372 150 380 292 292 276", "#2d7f86", line=15)
        + path("M176 166 C190 96 262 96 280 166", "#2d7f86", line=13)
        + '<path d="M176 222 L96 142 L82 156 L160 282 Z" fill="#3d9aa1"/>'
        + '<path d="M62 150 L104 116 L112 130 L72 166 Z" fill="#2d7f86"/>'
        + '<path d="M156 166 L296 166 L306 322 L146 322 Z" fill="url(#tin)"/>'
        + '<ellipse cx="226" cy="166" rx="70" ry="13" fill="#246469"/>'
        + path("M152 240 H300", "#246469", line=5)
        + drops
        + path("M58 340 V300", "#3f7d2c", line=6)
        + '<path d="M58 306 C30 300 24 284 24 276 C46 276 58 290 58 306 Z M58 300 C84 296 92 280 '
        '92 270 C70 272 58 284 58 300 Z" fill="#5da344"/>',
        defs=gradient("tin", "#58b7be", "#2f858c", horizontal=True),
    )


def purifier() -> Image.Image:
    """Return the drawn product: a white tower on a wooden floor beside a plant."""
    slots = "".join(path(f"M196 {y} H304", "#9fb0ba", line=4) for y in range(250, 400, 13))
    leaves = "".join(
        f'<path d="M400 360 C{400 + dx} {330 - dy} {400 + dx} {290 - dy} {400 + 2 * dx} {270 - dy} '
        f'C{400 + 2 * dx} {320 - dy} {412 + dx} 350 400 360 Z" fill="#4f9a56"/>'
        for dx, dy in ((-30, 0), (30, 6), (-14, 50), (16, 56), (0, 80))
    )
    return render(
        svg(
            box(0, 0, 500, 500, "url(#wall)")
            + box(0, 400, 500, 100, "#b58a5e")
            + path("M0 430 H500 M0 466 H500", "#9c7449")
            + leaves
            + '<path d="M366 356 H434 L424 424 H376 Z" fill="#d9d4cb"/>'
            + '<ellipse cx="250" cy="440" rx="104" ry="14" fill="#00000033"/>'
            + '<path d="M170 130 C170 92 330 92 330 130 V430 C330 446 170 446 170 430 Z" '
            'fill="url(#shell)" stroke="#c3ccd2" stroke-width="2"/>'
            + '<ellipse cx="250" cy="126" rx="80" ry="24" fill="#dbe3e8"/>'
            + '<ellipse cx="250" cy="126" rx="62" ry="17" fill="#54636d"/>'
            + path("M196 126 H304 M206 118 H294 M206 134 H294", "#8a99a3", line=3)
            + slots
            + '<circle cx="250" cy="200" r="30" fill="#16212a"/>'
            '<circle cx="250" cy="200" r="24" fill="none" stroke="#39c58a" stroke-width="5"/>'
            + text(250, 206, "12", size=17, anchor="middle", fill="#e9fff6", bold=True),
            width=500,
            height=500,
            defs=gradient("wall", "#e9eef0", "#cfdadf")
            + gradient("shell", "#ffffff", "#d6dee3", horizontal=True)
            + ball("leaf", "#7cc27f", "#3b7d42"),
        )
    ).convert("RGB")


DRAWINGS: dict[str, Callable[[], str]] = {
    "sailing-day.png": first.sailboat,
    "cottage.png": first.cottage,
    "two-wheels.png": first.bicycle,
    "six-strings.jpg": first.guitar,
    "fruit.bmp": first.apple,
    "rainy-day.png": first.umbrella,
    "desert-plant.png": first.cactus,
    "beacon.png": second.lighthouse,
    "up-in-the-air.png": second.balloon,
    "porcelain.jpg": second.teapot,
    "jetliner.png": second.airplane,
    "toadstool.jpg": second.mushroom,
    "field-work.png": second.tractor,
    "lift-off.jpg": rocket,
    "wake-up.jpg": alarm_clock,
    "express.png": bullet_train,
    "fresh-loaf.jpg": bread,
    "ladder.png": ladder,
    "garden-helper.jpg": watering_can,
}


def make_drawings(target: Path) -> list[str]:
    """Write every drawing, and an animated one; return the names."""
    for name, draw in DRAWINGS.items():
        image = render(draw())
        if name.endswith(".bmp"):
            image = image.resize((160, 160))
        save(image, target / name)
    frames = [render(second.snowman(step)).convert("RGB").resize((240, 240)) for step in range(4)]
    small = [frame.quantize(48) for frame in frames]
    small[0].save(
        target / "winter.gif", save_all=True, append_images=small[1:], duration=250, loop=0
    )
    return [*DRAWINGS, "winter.gif"]
