"""The demo: the sample corpus, one question a route and some that use them all, and a page."""

from __future__ import annotations

from pathlib import Path

from mmrag.display import Hits, page_html
from mmrag.index import MultimodalIndex
from mmrag.ingest import Progress

__all__ = ["SAMPLE", "run_demo"]

SAMPLE = Path(__file__).parent / "sample"
"""The sample corpus; sources and licences are in its ``LICENSES.md``."""


def run_demo(folder: Path, progress: Progress | None = None) -> list[tuple[str, Hits]]:
    """Index the sample corpus in ``folder/kb``, ask it, and write ``folder/demo.html``.

    Returns headings and hits.
    """
    with MultimodalIndex.open(folder / "kb") as index:
        corpus = [SAMPLE / "pictures", SAMPLE / "texts", SAMPLE / "manual.pdf"]
        report = index.add_files(corpus, progress=progress)
        sections = [
            (heading, note, index.search(text, image=image, limit=8, routes=routes))
            for heading, note, text, image, routes in _questions()
        ]
    title = f"mmrag: {report.records} records, texts and pictures in one index"
    (folder / "demo.html").write_text(page_html(title, sections), "utf-8")
    return [(heading, hits) for heading, _, hits in sections]


Question = tuple[str, str, str | None, Path | None, list[str] | None]


def _questions() -> list[Question]:
    """Heading, note, words, picture and routes (None for all that the question can take)."""
    cat, chart = SAMPLE / "pictures" / "chelsea.jpg", SAMPLE / "pictures" / "quarter-beans.png"
    return [
        (
            "words, all routes",
            "Texts, pictures and pages compete in one ranking.",
            "filter coffee",
            None,
            None,
        ),
        ("中文，全部路径", "中英文与图片在同一个索引里。", "大熊猫", None, None),
        (
            "words -> text",
            "Passages that mean the same, in either language.",
            "how do I change the filter of the air purifier?",
            None,
            ["text->text"],
        ),
        (
            "words -> pictures",
            "Pictures by what they show; none of them has a caption.",
            "a lighthouse",
            None,
            ["text->image"],
        ),
        (
            "keywords",
            "Words and numbers as they are written (BM25).",
            "warranty 24 months",
            None,
            ["keywords"],
        ),
        (
            "a picture -> pictures",
            "Pictures that show alike.",
            None,
            cat,
            ["image->image"],
        ),
        (
            "a picture -> texts",
            "Passages about what a picture shows.",
            None,
            cat,
            ["image->text"],
        ),
        (
            "words and a picture together",
            "What answers both comes first.",
            "coffee sales",
            chart,
            None,
        ),
    ]
