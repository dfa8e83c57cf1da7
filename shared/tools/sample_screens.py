"""Pictures of screens and tables of the sample corpus. Names and numbers are invented."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sample_svg import MONO, box, path, render, save, svg, text


def _window(width: int, height: int, title: str, inside: str, bar: str = "#dfe3e8") -> str:
    lights = "".join(
        f'<circle cx="{22 + 20 * i}" cy="18" r="6" fill="{c}"/>'
        for i, c in enumerate(("#ec6a5e", "#f4bf50", "#61c454"))
    )
    frame = box(1, 1, width - 2, height - 2, "#fff", stroke="#9aa3ad", radius=8)
    head = box(2, 2, width - 4, 33, bar, radius=7) + lights
    caption = text(width / 2, 23, title, size=14, anchor="middle")
    return svg(frame + head + caption + inside, width=width, height=height)


def login() -> str:
    """Return a login form (Chinese)."""
    inside = (
        text(210, 92, "用户登录", size=24, anchor="middle", bold=True)
        + text(60, 136, "手机号", size=14)
        + box(60, 146, 300, 40, "#fff", stroke="#bbb", radius=6)
        + text(74, 171, "138 0000 0000", size=15, fill="#999")
        + text(60, 216, "密码", size=14)
        + box(60, 226, 300, 40, "#fff", stroke="#bbb", radius=6)
        + text(74, 254, "● ● ● ● ● ● ● ●", size=13, fill="#666")
        + box(60, 284, 15, 15, "#2f6fed", radius=3)
        + path("M63 291 l4 4 l6 -8", "#fff")
        + text(84, 297, "记住我", size=13)
        + text(360, 297, "忘记密码?", size=13, anchor="end", fill="#2f6fed")
        + box(60, 318, 300, 44, "#2f6fed", radius=8)
        + text(210, 346, "登 录", size=17, anchor="middle", fill="#fff", bold=True)
        + text(210, 390, "还没有账号?立即注册", size=13, anchor="middle", fill="#666")
    )
    return _window(420, 420, "云笔记", inside)


def terminal() -> str:
    """Return a terminal in which tests ran."""
    lines = (
        ("$ git status", "#8be37c"),
        ("On branch main", "#ddd"),
        ("nothing to commit, working tree clean", "#ddd"),
        ("$ python -m pytest -q", "#8be37c"),
        (".....................F......... [ 62%]", "#ddd"),
        ("................... [100%]", "#ddd"),
        ("FAILED tests/test_cache.py::test_expiry", "#ff7b72"),
        ("AssertionError: expected 3, got 4", "#ff7b72"),
        ("1 failed, 49 passed in 3.27s", "#f2cc60"),
        ("$ _", "#8be37c"),
    )
    inside = box(2, 35, 556, 293, "#16191d")
    inside += "".join(
        text(18, 66 + 26 * i, line, size=16, fill=colour, font=MONO)
        for i, (line, colour) in enumerate(lines)
    )
    return _window(560, 330, "bash - 80x24", inside)


def calendar() -> str:
    """Return October on a calendar (Chinese)."""
    parts = box(0, 0, 460, 400, "#fff") + box(0, 0, 460, 64, "#d94841")
    parts += text(230, 42, "十月", size=26, anchor="middle", fill="#fff", bold=True)
    for i, name in enumerate("一二三四五六日"):
        fill = "#d94841" if i > 4 else "#333"
        parts += text(42 + 62 * i, 96, name, size=17, anchor="middle", fill=fill, bold=True)
    for day in range(1, 32):
        column, row = (day + 1) % 7, (day + 1) // 7
        x, y = 42 + 62 * column, 140 + 56 * row
        if day <= 7:
            parts += box(x - 26, y - 28, 52, 50, "#fbe3e0", radius=8)
            parts += text(x, y + 16, "假期", size=11, anchor="middle", fill="#d94841")
        if day == 18:
            parts += box(x - 26, y - 28, 52, 50, "#dcebfa", radius=8)
            parts += text(x, y + 16, "体检", size=11, anchor="middle", fill="#1f5f9e")
        fill = "#d94841" if column > 4 or day <= 7 else "#222"
        parts += text(x, y, str(day), size=18, anchor="middle", fill=fill)
    return svg(parts, width=460, height=400)


def _grid(
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    top: int,
    left: int,
    *,
    height: int = 30,
    head: str = "#e8edf2",
    size: int = 14,
) -> str:
    parts = ""
    for i, row in enumerate(rows):
        x = left
        for value, width in zip(row, widths, strict=True):
            fill = head if i == 0 else ("#fff", "#f8fafb")[i % 2]
            parts += box(x, top + i * height, width, height, fill, stroke="#c3cad1", line=1)
            number = value.replace(",", "").replace(".", "").replace("$", "").isdigit()
            place = (x + width - 8, "end") if number else (x + 8, "start")
            parts += text(
                place[0],
                top + i * height + height * 0.68,
                value,
                size=size,
                anchor=place[1],
                bold=i == 0,
            )
            x += width
    return parts


def spreadsheet() -> str:
    """Return travel expenses in a spreadsheet."""
    rows = (
        ("", "A", "B", "C", "D"),
        ("1", "Date", "Item", "City", "Cost"),
        ("2", "3 March", "Train ticket", "Lyon", "$84.00"),
        ("3", "3 March", "Hotel, 2 nights", "Lyon", "$236.00"),
        ("4", "4 March", "Dinner with client", "Lyon", "$61.50"),
        ("5", "5 March", "Taxi", "Geneva", "$38.20"),
        ("6", "6 March", "Flight home", "Geneva", "$172.00"),
        ("7", "", "TOTAL", "", "$591.70"),
    )
    inside = box(12, 46, 60, 24, "#fff", stroke="#bbb", line=1) + text(22, 64, "D7", size=13)
    inside += box(80, 46, 448, 24, "#fff", stroke="#bbb", line=1)
    inside += text(90, 64, "fx  =SUM(D2:D6)", size=13, fill="#444", font=MONO)
    inside += _grid(rows, (30, 96, 180, 100, 110), 80, 12)
    inside += box(418, 290, 110, 30, "none", stroke="#1e7a45", line=3)
    return _window(540, 336, "travel-expenses.xlsx", inside, "#cfe6d8")


def error_dialog() -> str:
    """Return a message about a full disk."""
    inside = (
        '<circle cx="66" cy="110" r="30" fill="#d9362b"/>'
        + path("M54 98 L78 122 M78 98 L54 122", "#fff", line=7)
        + text(120, 92, "Not enough disk space", size=19, bold=True)
        + text(120, 122, "The file could not be saved: drive D: is full.", size=14)
        + text(120, 144, "Free at least 350 MB and try again.", size=14)
        + text(120, 172, "Error code 0x80070070", size=13, fill="#777", font=MONO)
        + box(252, 200, 92, 34, "#2f6fed", radius=6)
        + text(298, 222, "Retry", size=14, anchor="middle", fill="#fff")
        + box(356, 200, 92, 34, "#eceff2", stroke="#aab", radius=6, line=1)
        + text(402, 222, "Cancel", size=14, anchor="middle")
    )
    return _window(470, 254, "Save failed", inside)


def timetable() -> str:
    """Return train times (Chinese)."""
    rows = (
        ("车次", "出发站", "到达站", "发车", "到达", "二等座"),
        ("G101", "江城东", "南港", "07:05", "10:32", "318元"),
        ("G117", "江城东", "南港", "09:40", "13:01", "318元"),
        ("G133", "江城", "云山北", "11:15", "13:48", "226元"),
        ("D305", "江城", "青岭", "14:20", "17:55", "187元"),
        ("G159", "江城东", "南港", "18:30", "21:52", "318元"),
    )
    return svg(
        box(0, 0, 540, 280, "#fff")
        + text(270, 40, "高铁列车时刻表", size=21, anchor="middle", bold=True)
        + _grid(rows, (80, 96, 96, 80, 80, 88), 60, 10, height=34, head="#cfe0f5", size=15),
        width=540,
        height=280,
    )


def nutrition() -> str:
    """Return a nutrition table."""
    rows = (
        ("Food (100 g)", "kcal", "Protein g", "Fat g", "Carbs g"),
        ("Oatmeal, dry", "379", "13.2", "6.5", "67.7"),
        ("Egg, boiled", "155", "12.6", "10.6", "1.1"),
        ("Tofu, firm", "144", "17.3", "8.7", "2.8"),
        ("Salmon", "208", "20.4", "13.4", "0"),
        ("Broccoli", "34", "2.8", "0.4", "6.6"),
        ("Almonds", "579", "21.2", "49.9", "21.6"),
    )
    return svg(
        box(0, 0, 520, 300, "#fff")
        + text(260, 38, "Nutrition facts", size=21, anchor="middle", bold=True)
        + _grid(rows, (160, 70, 100, 80, 90), 56, 10, height=32, head="#dfeed5", size=15),
        width=520,
        height=300,
    )


SCREENS: dict[str, Callable[[], str]] = {
    "sign-in.png": login,
    "test-run.png": terminal,
    "october.png": calendar,
    "travel-costs.png": spreadsheet,
    "save-failed.png": error_dialog,
    "departures.png": timetable,
    "food-values.png": nutrition,
}


def make_screens(target: Path) -> list[str]:
    """Write every screen and table; return the names."""
    for name, draw in SCREENS.items():
        save(render(draw()), target / name, colours=48)
    return list(SCREENS)
