"""Diagrams, plans and maps of the sample corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sample_svg import arrow, box, path, render, save, svg, text

PAPER = "#ffffff"


def _node(x: float, y: float, w: float, h: float, label: str, fill: str) -> str:
    middle = text(x + w / 2, y + h / 2 + 5, label, size=15, anchor="middle")
    return box(x, y, w, h, fill, stroke="#445", radius=8) + middle


def _decision(x: float, y: float, label: str) -> str:
    shape = path(
        f"M{x} {y - 38} L{x + 92} {y} L{x} {y + 38} L{x - 92} {y} Z", "#445", fill="#fdebc8"
    )
    return shape + text(x, y + 5, label, size=14, anchor="middle")


def flow_chart() -> str:
    """Return how an online order is returned (Chinese)."""
    return svg(
        box(0, 0, 480, 520, PAPER)
        + text(240, 32, "网购退货流程", size=20, anchor="middle", bold=True)
        + _node(165, 52, 150, 40, "提交退货申请", "#d5ecd4")
        + arrow([(240, 92), (240, 120)])
        + _decision(240, 160, "签收未满七天?")
        + arrow([(332, 160), (395, 160), (395, 190)])
        + text(350, 152, "否")
        + _node(335, 192, 120, 40, "拒绝申请", "#f6c9c4")
        + arrow([(240, 198), (240, 230)])
        + text(248, 218, "是")
        + _node(165, 232, 150, 40, "寄回商品", "#d6e6f7")
        + arrow([(240, 272), (240, 300)])
        + _decision(240, 340, "验货合格?")
        + arrow([(148, 340), (85, 340), (85, 398)])
        + text(112, 332, "否")
        + _node(25, 400, 120, 40, "退回买家", "#f6c9c4")
        + arrow([(240, 378), (240, 420)])
        + text(248, 402, "是")
        + _node(165, 422, 150, 40, "原路退款", "#d5ecd4")
        + text(240, 492, "三个工作日内到账", size=13, anchor="middle", fill="#666"),
        width=480,
        height=520,
    )


def network() -> str:
    """Return an office network."""

    def computer(x: float, label: str) -> str:
        return (
            box(x - 34, 330, 68, 46, "#37474f", radius=4)
            + box(x - 29, 335, 58, 36, "#8fd0ea")
            + box(x - 7, 376, 14, 12, "#37474f")
            + box(x - 22, 387, 44, 6, "#37474f", radius=2)
            + text(x, 412, label, size=13, anchor="middle")
        )

    cloud = "".join(
        f'<circle cx="{x}" cy="{y}" r="{r}" fill="#cfe3f5"/>'
        for x, y, r in ((90, 90, 30), (125, 74, 34), (160, 88, 30), (125, 98, 30))
    )
    wires = path(
        "M190 90 H250 M330 90 H390 M425 116 V200 M425 236 V280 M95 280 H505 M95 280 V330 "
        "M230 280 V330 M365 280 V330 M505 280 V330",
        "#556",
        line=3,
    )
    return svg(
        box(0, 0, 580, 430, PAPER)
        + text(290, 30, "Office network", size=20, anchor="middle", bold=True)
        + wires
        + cloud
        + text(125, 94, "Internet", size=15, anchor="middle")
        + box(250, 62, 80, 56, "#e3735e", stroke="#8e3b2b", radius=4)
        + path(
            "M250 81 H330 M250 99 H330 M276 62 V81 M304 62 V81 M264 81 V99 M290 81 V99 M316 81 "
            "V99 M276 99 V118 M304 99 V118",
            "#fff",
            line=2,
        )
        + text(290, 138, "Firewall", size=13, anchor="middle")
        + box(390, 70, 70, 44, "#5c9ec9", stroke="#24587a", radius=20)
        + text(425, 97, "Router", size=13, anchor="middle")
        + box(360, 200, 130, 36, "#7fb77e", stroke="#3b6b3a", radius=4)
        + text(425, 223, "24-port switch", size=13, anchor="middle")
        + computer(95, "Reception")
        + computer(230, "Design")
        + computer(365, "Accounts")
        + box(480, 330, 50, 62, "#cfd8dc", stroke="#455", radius=4)
        + "".join(box(486, y, 38, 10, "#78909c") for y in (338, 354, 370))
        + text(505, 412, "File server", size=13, anchor="middle"),
        width=580,
        height=430,
    )


def circuit() -> str:
    """Return a battery, a switch, a resistor and an LED."""
    return svg(
        box(0, 0, 520, 340, "#fcfbf5")
        + text(260, 34, "LED circuit", size=20, anchor="middle", bold=True)
        + path(
            "M80 150 V80 H170 M220 80 H290 M290 80 l12 -16 l20 32 l20 -32 l20 32 l20 -32 l12 16 "
            "H440 V140 M440 200 V270 H80 V190",
            "#222",
            line=3,
        )
        + path("M58 150 H102 M66 176 H94", "#222", line=3)
        + path("M58 163 H102", "#222", line=3)
        + path("M66 190 H94", "#222", line=6)
        + '<circle cx="170" cy="80" r="5" fill="#222"/><circle cx="220" cy="80" r="5" fill="#222"/>'
        + path("M172 78 L214 54", "#222", line=3)
        + path("M416 150 H464 L440 192 Z", "#b3271e", line=3, fill="#f3b5ae")
        + path("M414 196 H466 M440 140 V150 M440 192 V202", "#222", line=3)
        + arrow([(470, 166), (496, 166)], "#c98a00")
        + arrow([(470, 184), (496, 184)], "#c98a00")
        + text(112, 176, "9 V battery", size=15)
        + text(166, 118, "switch S1", size=15)
        + text(304, 128, "R1  470 Ω", size=15)
        + text(360, 226, "LED1 (red)", size=15)
        + path("M240 270 V290 M222 290 H258 M229 298 H251 M236 306 H244", "#222", line=3),
        width=520,
        height=340,
    )


def floor_plan() -> str:
    """Return the plan of a flat with two bedrooms (Chinese)."""
    wall = "#2b2b2b"
    rooms = (
        (150, 120, "客厅", "24 ㎡"),
        (390, 110, "主卧", "16 ㎡"),
        (390, 258, "次卧", "11 ㎡"),
        (90, 282, "厨房", "7 ㎡"),
        (215, 310, "卫生间", "5 ㎡"),
    )
    labels = "".join(
        text(x, y, name, size=17, anchor="middle", bold=True)
        + text(x, y + 20, area, size=13, anchor="middle", fill="#666")
        for x, y, name, area in rooms
    )
    return svg(
        box(0, 0, 520, 430, "#f7f5ef")
        + text(260, 28, "两室一厅户型图", size=19, anchor="middle", bold=True)
        + '<g transform="translate(10 40)">'
        + path("M20 20 H480 V360 H20 Z", wall, line=9, fill="#fffdf8")
        + path(
            "M290 20 V90 M290 140 V240 M290 290 V360 M20 230 H110 M150 230 H200 M240 230 H290 "
            "M290 200 H480 M160 230 V360",
            wall,
            line=6,
        )
        + path(
            "M290 90 A50 50 0 0 1 340 140 L290 140 M110 230 A40 40 0 0 0 150 270 L150 230 "
            "M200 230 A40 40 0 0 0 240 270 L240 230",
            "#888",
            line=1.5,
        )
        + path(
            "M80 20 H220 M340 360 H440 M480 60 V150 M480 230 V320 M20 270 V330", "#6fb4e0", line=5
        )
        + box(40, 150, 110, 46, "#e3d3bd", stroke="#998", radius=8)
        + box(400, 40, 66, 50, "#dbe6f3", stroke="#899", radius=6)
        + box(306, 305, 80, 44, "#dbe6f3", stroke="#899", radius=6)
        + box(30, 322, 100, 30, "#e6e0d4", stroke="#998")
        + '<circle cx="60" cy="337" r="9" fill="none" stroke="#666" stroke-width="2"/>'
        + '<circle cx="92" cy="337" r="9" fill="none" stroke="#666" stroke-width="2"/>'
        + f"{labels}</g>",
        width=520,
        height=430,
    )


def org_chart() -> str:
    """Return who reports to whom in a small company."""
    heads = ((100, "Roasting", "#d5ecd4"), (280, "Sales", "#d6e6f7"), (460, "Finance", "#f8e3c4"))
    parts = path("M280 106 V140 M100 140 H460", "#556")
    for x, name, fill in heads:
        parts += path(f"M{x} 140 V164 M{x} 210 V244", "#556")
        parts += _node(x - 72, 164, 144, 46, f"Head of {name}", fill)
    teams = ((100, "Quality lab"), (280, "Online shop"), (460, "Payroll"))
    parts += "".join(_node(x - 66, 244, 132, 40, name, "#fff") for x, name in teams)
    parts += "".join(path(f"M{x} 284 V308", "#556") for x, _ in teams)
    last = ((100, "Warehouse"), (280, "Cafes"), (460, "Purchasing"))
    parts += "".join(_node(x - 66, 308, 132, 40, name, "#fff") for x, name in last)
    return svg(
        box(0, 0, 560, 370, PAPER)
        + text(280, 36, "Brightleaf Roasters: organisation", size=19, anchor="middle", bold=True)
        + _node(195, 58, 170, 48, "Managing director", "#e3d3f1")
        + parts,
        width=560,
        height=370,
    )


def metro_map() -> str:
    """Return the underground lines of an invented city (Chinese)."""
    stops = (
        (70, 120, "西山"),
        (160, 120, "博物馆"),
        (250, 120, "人民广场"),
        (350, 120, "大学城"),
        (450, 120, "东湖"),
        (250, 60, "北站"),
        (250, 200, "市医院"),
        (250, 280, "体育中心"),
        (250, 350, "机场"),
        (120, 240, "老码头"),
        (380, 240, "软件园"),
    )
    lines = (
        path("M70 120 H450", "#d62f2f", line=9)
        + path("M250 60 V350", "#2563c9", line=9)
        + path("M160 120 L120 160 V240 L160 280 H340 L380 240 V160 L350 120", "#2d9a4b", line=9)
    )
    dots = "".join(
        f'<circle cx="{x}" cy="{y}" r="8" fill="#fff" stroke="#222" stroke-width="3"/>'
        + text(x + 13, y - 12, name, size=14)
        for x, y, name in stops
    )
    legend = "".join(
        box(392, 300 + i * 24, 30, 8, colour) + text(430, 310 + i * 24, name, size=13)
        for i, (colour, name) in enumerate(
            (("#d62f2f", "1号线"), ("#2563c9", "2号线"), ("#2d9a4b", "环线"))
        )
    )
    return svg(
        box(0, 0, 520, 390, PAPER)
        + text(20, 34, "江城地铁线路图", size=20, bold=True)
        + lines
        + dots
        + legend,
        width=520,
        height=390,
    )


def island_map() -> str:
    """Return a walking map of an invented island."""
    trees = "".join(
        path(f"M{x} {y} l-11 24 h22 Z", "#2f6b35", fill="#4c9a52")
        for x, y in (
            (150, 150),
            (178, 138),
            (170, 172),
            (205, 158),
            (330, 250),
            (352, 268),
            (316, 274),
        )
    )
    return svg(
        box(0, 0, 520, 400, "#a8d5ee")
        + path(
            "M90 200 C80 120 170 70 260 84 C340 60 450 110 440 200 C460 290 370 340 280 326 C200 "
            "350 100 300 90 200 Z",
            "#d8c48c",
            line=10,
            fill="#cfe3a9",
        )
        + path("M300 110 L340 176 L260 176 Z", "#6c6257", fill="#9d9184")
        + path("M300 110 L314 134 L304 130 L296 136 L286 132 Z", "#fff", fill="#fff")
        + path(
            "M235 230 C262 214 300 226 292 250 C280 270 232 262 235 230 Z",
            "#4d9fd0",
            fill="#79bfe6",
        )
        + trees
        + path(
            "M120 214 C170 200 190 230 226 222 S300 196 330 190 S400 200 418 190",
            "#b3342b",
            line=3,
            extra='stroke-dasharray="8 7"',
        )
        + text(300, 102, "Mount Pell 612 m", size=13, anchor="middle")
        + text(264, 282, "Mirror Lake", size=13, anchor="middle", fill="#1f5f8b")
        + text(104, 236, "Ferry pier", size=13)
        + text(388, 178, "Hut", size=13)
        + text(140, 204, "Pine wood", size=13)
        + text(20, 34, "Pell Island hiking map", size=20, bold=True)
        + path("M470 330 V280 M470 280 l-8 16 M470 280 l8 16", "#333", line=3)
        + text(470, 352, "N", size=16, anchor="middle", bold=True)
        + path("M30 370 H130 M30 364 V376 M130 364 V376", "#333", line=2)
        + text(80, 392, "2 km", size=12, anchor="middle"),
        width=520,
        height=400,
    )


DIAGRAMS: dict[str, Callable[[], str]] = {
    "returns-steps.png": flow_chart,
    "office-lan.png": network,
    "led-schematic.png": circuit,
    "two-bedroom.png": floor_plan,
    "who-reports.png": org_chart,
    "metro-lines.png": metro_map,
    "island-trails.png": island_map,
}


def make_diagrams(target: Path) -> list[str]:
    """Write every diagram; return the names."""
    for name, draw in DIAGRAMS.items():
        save(render(draw()), target / name, colours=64)
    return list(DIAGRAMS)
