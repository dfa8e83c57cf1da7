"""Evaluation: its figures by arithmetic and against the development set, its files, bad input."""

from __future__ import annotations

import io
import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ir_measures")

from mmrag.errors import InputError, UnknownName, UnreadableSource
from mmrag.evaluate import Evaluation, evaluate
from mmrag.evaluation_report import plot_svg, tables
from mmrag.fusion import Fused, Fusion
from mmrag.index import MultimodalIndex
from mmrag.judgements import JudgedQuery, read_judgements
from mmrag.metrics import estimate, measured, p_value
from mmrag.protocols import Ranking
from mmrag.testing import FakeEncoder, FakeReranker, MemoryStore
from mmrag.types import ImageRef, Locator, Record, key_of
from mmrag.ways import Way, ways_of


def index_of(*records: Record) -> MultimodalIndex:
    encoder = FakeEncoder()
    index = MultimodalIndex.open(store=MemoryStore(), text_encoder=encoder, image_encoder=encoder)
    index.add(records)
    return index


def lettered(letters: str = "abcdefghijklmnopqrstuvwxyz") -> MultimodalIndex:
    return index_of(*(Record(letter, f"the letter {letter}") for letter in letters))


def fixed(ids: Sequence[str]) -> Fusion:
    """A fusion that always finds the same, in this order."""

    def fusion(rankings: Mapping[str, Ranking]) -> list[Fused]:
        return [Fused(key_of(name), -float(rank), ()) for rank, name in enumerate(ids)]

    return fusion


def asked(relevant: Mapping[str, int] | Sequence[str], name: str = "q") -> JudgedQuery:
    grades = relevant if isinstance(relevant, Mapping) else dict.fromkeys(relevant, 1)
    return JudgedQuery(name, grades, "the letter")


def found(evaluation: Evaluation, way: int = 0, query: str = "q") -> Mapping[str, float]:
    return evaluation.outcomes[way].per_query[query]


# Metrics


def test_the_metrics_by_hand() -> None:
    query = asked({"c": 3, "e": 1, "z": 2})
    way = Way("alphabet", fusion=fixed("abcdefghijklm"))
    result = evaluate(lettered(), [query], ways=[way], k=4)
    ideal = 3 + 2 / math.log2(3) + 1 / math.log2(4)
    assert found(result) == pytest.approx(
        {
            "recall@4": 1 / 3,
            "hit@4": 1,
            "MRR": 1 / 3,
            "nDCG@10": (3 / math.log2(4) + 1 / math.log2(6)) / ideal,
        }
    )
    assert result.outcomes[0].metrics["MRR"].mean == pytest.approx(1 / 3)


def test_nothing_found_and_all_found() -> None:
    index, queries = lettered("abc"), [asked("abc", "all"), asked({"c": 1}, "late")]
    ways = [Way("whole", fusion=fixed("abc")), Way("nothing", fusion=fixed(""))]
    result = evaluate(index, queries, ways=ways, k=2)
    assert found(result, 0, "all") == {"recall@2": 2 / 3, "hit@2": 1, "MRR": 1, "nDCG@10": 1}
    assert found(result, 0, "late")["hit@2"] == 0
    assert found(result, 0, "late")["MRR"] == pytest.approx(1 / 3)  # down to rank 10
    assert set(found(result, 1, "all").values()) == {0}


def test_grade_0_is_not_relevant() -> None:
    result = evaluate(lettered(), [asked({"a": 0, "b": 1})], ways=[Way("w", fusion=fixed("ab"))])
    assert found(result)["MRR"] == 0.5


def test_names_that_no_c_string_could_hold() -> None:
    gains = {"q \ud800": {"a b\0": 1, ("no", "text"): 2}}
    rows = measured(gains, {"q \ud800": [("no", "text"), "\ud800", "a b\0"]}, 1)
    assert rows["q \ud800"]["recall@1"] == 0.5


def test_the_interval_is_that_of_the_bootstrap_and_repeats() -> None:
    values = [random.Random(n).random() for n in range(60)]
    rng = np.random.default_rng(1)
    means = np.array(values)[rng.integers(60, size=(20_000, 60))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    interval = estimate(values)
    assert interval.mean == pytest.approx(sum(values) / 60)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.005)
    assert estimate(values) == interval
    assert estimate([0.5]).low == estimate([0.5, 0.5]).high == 0.5


def test_the_p_value_is_exact_for_few_queries() -> None:
    # Of the 32 ways to set the signs, only all plus and all minus are as far from 0.
    assert p_value([0.1, 0.2, 0.1, 0.3, 0.1]) == pytest.approx(2 / 32)
    assert p_value([0.5, -0.5]) == p_value([0.5]) == 1
    assert p_value([0.0, 0.0, 0.0]) == 1
    assert p_value([0.1] * 100) < 0.001


def test_ways_are_compared_with_the_first_query_by_query() -> None:
    queries = [asked({letter: 1}, letter) for letter in "abcd"]
    ways = [Way("forth", fusion=fixed("abcd")), Way("back", fusion=fixed("dcba"))]
    result = evaluate(lettered("abcd"), queries, ways=ways)
    (pair,) = result.comparisons
    assert (pair.way, pair.baseline, pair.queries) == ("back", "forth", 4)
    assert pair.difference.mean == pytest.approx(0, abs=1e-12)
    assert pair.difference.low < 0 < pair.difference.high
    assert pair.p_value == pytest.approx(1)


# What names mean


def test_a_file_counts_once_at_its_best_place() -> None:
    index = index_of(
        Record("1", "one", source="docs/a.md"),
        Record("2", "two", source="docs/a.md"),
        Record("3", "three", source="docs/b.md"),
        Record("4", "four", source="other/c.md"),
    )
    way = Way("w", fusion=fixed("1234"))
    for name in ("b.md", "docs/b.md", "./docs/b.md", "docs\\b.md"):
        result = evaluate(index, [asked([name])], ways=[way], k=2)
        assert found(result)["recall@2"] == 1, name
        assert found(result)["MRR"] == 0.5
        assert not result.missing
    assert evaluate(index, [asked(["x/b.md"])], ways=[way]).missing == ("x/b.md",)
    assert evaluate(index, [asked(["d.md", "md"])], ways=[way]).missing == ("d.md", "md")


def test_ids_of_records_rank_records() -> None:
    index = index_of(*(Record(name, name, source="a.md") for name in "123"))
    way = Way("w", fusion=fixed("123"))
    result = evaluate(index, [asked(["3"]), asked(["a.md"], "file")], ways=[way])
    assert found(result)["MRR"] == pytest.approx(1 / 3)
    assert found(result, query="file")["MRR"] == 1


def test_pages_of_a_file() -> None:
    pages = [Record(str(n), f"page {n}", source="m.pdf", locator=Locator(page=n)) for n in (1, 2)]
    again = Record("2b", "more", source="m.pdf", locator=Locator(page=1))
    index = index_of(pages[0], again, pages[1])
    way = Way("w", fusion=fixed(["1", "2b", "2"]))
    result = evaluate(index, [asked(["m.pdf#page=2", "m.pdf#page=9"])], ways=[way])
    assert found(result)["MRR"] == 0.5
    assert found(result)["recall@10"] == 0.5
    assert result.missing == ("m.pdf#page=9",)


def test_a_name_of_two_files_has_to_be_longer() -> None:
    index = index_of(Record("1", "x", source="a/readme.md"), Record("2", "y", source="b/readme.md"))
    with pytest.raises(InputError, match=r"2 files, 'a/readme.md' and 'b/readme.md'"):
        evaluate(index, [asked(["readme.md"])])
    assert not evaluate(index, [asked(["b/readme.md"])]).missing
    index.add([Record("3", "z", source="readme.md")])  # now it is the whole source of one
    assert not evaluate(index, [asked(["readme.md"])]).missing


def test_what_the_index_does_not_hold_is_a_miss_and_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    result = evaluate(lettered(), [asked(["a", "nowhere"])], ways=[Way("w", fusion=fixed("a"))])
    assert result.missing == ("nowhere",)
    assert found(result)["recall@10"] == 0.5
    assert "'nowhere'" in caplog.text


# Ways


def pictured(folder: Path) -> MultimodalIndex:
    records = [Record("a", "a red kettle"), Record("b", "a blue lamp")]
    for colour in ("red", "blue"):
        path = folder / f"{colour}.png"
        Image.new("RGB", (16, 16), colour).save(path)
        records.append(Record(colour, image=ImageRef(str(path), "", "image/png", 16, 16)))
    return index_of(*records)


def test_ways_are_those_that_the_index_and_the_queries_have(tmp_path: Path) -> None:
    index = pictured(tmp_path)
    words = JudgedQuery("w", {"a": 1}, "a red kettle")
    picture = JudgedQuery("p", {"red": 1}, image=str(tmp_path / "red.png"))
    assert [way.name for way in ways_of(index, [words], fusions=["rrf", "dbsf"])] == [
        *("rrf", "dbsf", "text->text alone", "text->image alone", "keywords alone")
    ]
    ways = ways_of(index, [words, picture], reranker=FakeReranker(), ablate=True)
    result = evaluate(index, [words, picture], ways=ways)
    counts = {outcome.way: outcome.queries for outcome in result.outcomes}
    assert counts["calibrated"] == counts["calibrated, then fake reranker 1"] == 2
    assert counts["calibrated, half fake reranker 1"] == 2
    assert counts["image->image alone"] == counts["keywords alone"] == 1
    assert counts["calibrated without image->image"] == 2  # image->text still takes the picture
    assert {pair.way: pair.queries for pair in result.comparisons}["image->image alone"] == 1
    assert found(result, query="p")["MRR"] == 1


def test_a_reranker_orders_what_was_found() -> None:
    index = index_of(Record("a", "nothing like it"), Record("b", "green tea in a cup"))
    query = JudgedQuery("q", {"b": 1}, "green tea")
    way = Way("w", fusion=fixed("ab"))
    reranked = Way("r", fusion=fixed("ab"), reranker=FakeReranker())
    result = evaluate(index, [query], ways=[way, reranked])
    assert [outcome.metrics["MRR"].mean for outcome in result.outcomes] == [0.5, 1.0]


def test_a_reranker_is_measured_on_as_many_as_a_search_gives_it() -> None:
    class Counting(FakeReranker):
        seen: list[int] = []  # noqa: RUF012

        def rerank(self, text: str | None, image: object, records: Sequence[Record]) -> list[float]:
            self.seen.append(len(records))
            return [float(record.id == "last") for record in records]

    names = [*(f"r{n}" for n in range(45)), "last"]
    index = index_of(*(Record(name, f"the letter {name}") for name in names))
    way = Way("r", fusion=fixed(names), reranker=Counting())
    assert found(evaluate(index, [asked(["last"])], ways=[way]))["MRR"] == 1
    index.search("the letter", rerank=Counting())
    assert Counting.seen == [46, 46]


def test_a_reranker_is_asked_once_for_both_of_its_weights() -> None:
    class Counting(FakeReranker):
        calls = 0

        def rerank(self, *asked: object) -> list[float]:
            type(self).calls += 1
            return super().rerank(*asked)  # type: ignore[arg-type]

    index, query = lettered("abc"), asked(["a"])
    ways = ways_of(index, [query], reranker=Counting())
    evaluate(index, [query], ways=ways)
    assert len([way for way in ways if way.reranker]) == 2
    assert Counting.calls == 1


def test_texts_that_a_reranker_cannot_judge_keep_their_evidence() -> None:
    class Picky(FakeReranker):
        def judges(self, record: Record) -> bool:
            return record.image is not None

    index, query = lettered("abc"), asked(["b"])
    for reranker, judges in ((FakeReranker(), True), (Picky(), False)):
        ways = ways_of(index, [query], reranker=reranker)
        assert ways[1].reranker.judges(Record("a", "x")) is judges  # type: ignore[union-attr]
        evaluate(index, [query], ways=ways)


def test_a_reranker_that_takes_no_pictures_is_measured_on_the_others(tmp_path: Path) -> None:
    class WordsOnly(FakeReranker):
        def rerank(self, text: str | None, image: object, records: Sequence[Record]) -> list[float]:
            if image is not None:
                raise InputError("it judges by words")
            return super().rerank(text, None, records)

    index = pictured(tmp_path)
    queries = [
        JudgedQuery("w", {"a": 1}, "a red kettle"),
        JudgedQuery("p", {"red": 1}, image=str(tmp_path / "red.png")),
    ]
    ways = [Way("found"), Way("reranked", reranker=WordsOnly())]
    assert [o.queries for o in evaluate(index, queries, ways=ways).outcomes] == [2, 1]


def test_a_query_whose_picture_is_gone_is_left_out_and_reported(tmp_path: Path) -> None:
    index = pictured(tmp_path)
    gone = JudgedQuery("gone", {"red": 1}, image=str(tmp_path / "gone.png"))
    told: list[tuple[int, int]] = []
    result = evaluate(
        index, [gone, asked(["a"])], progress=lambda done, total: told.append((done, total))
    )
    assert result.queries == 1
    assert set(result.failed) == {"gone"}
    assert "gone.png" in result.failed["gone"]
    assert all("gone" not in outcome.per_query for outcome in result.outcomes)
    assert told == [(1, 2), (2, 2)]
    with pytest.raises(InputError, match=r"no query could be asked.*gone\.png"):
        evaluate(index, [gone])


def test_arguments_that_cannot_be_used() -> None:
    index, query = lettered("ab"), asked(["a"])
    for k in (0, -1, 1001, True, "10"):
        with pytest.raises(InputError, match="k is a whole number"):
            evaluate(index, [query], k=k)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no queries"):
        evaluate(index, [])
    with pytest.raises(InputError, match="same id"):
        evaluate(index, [query, query])
    with pytest.raises(InputError, match="at least one way"):
        evaluate(index, [query], ways=[Way("same"), Way("same")])
    with pytest.raises(InputError, match="takes any of the queries"):
        evaluate(index, [query], ways=[Way("w", routes=("image->image",))])
    with pytest.raises(UnknownName):
        evaluate(index, [query], ways=[Way("w", fusion="magic")])


def test_an_empty_index_misses_everything() -> None:
    result = evaluate(index_of(), [asked(["a"])])
    assert result.missing == ("a",)
    assert set(found(result).values()) == {0}


# Against the development set's own figure


@pytest.mark.slow
def test_ndcg_is_that_of_the_development_set(tmp_path: Path) -> None:
    judged = pytest.importorskip("benchmarks.judged", reason="only in the checkout")
    lines = (Path(judged.__file__).parent / "devset.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines[::4]]
    # There a grade gains 2^grade - 1; here it is its gain.
    for row in rows:
        row["text"] = row.pop("query")
        row["relevant"] = {name: 2**grade - 1 for name, grade in row["relevant"].items()}
    file = tmp_path / "queries.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    queries = judged.load()[::4]
    with judged.build(tmp_path / "kb") as index:
        ways = [Way("default"), Way("text->text", ("text->text",))]
        result = evaluate(index, read_judgements(file), ways=ways)
        for way, outcome in zip((judged.DEFAULT, judged.SINGLE[0]), result.outcomes, strict=True):
            expected = judged.score(index, way, queries)
            ours = [outcome.per_query[row["id"]]["nDCG@10"] for row in rows]
            np.testing.assert_allclose(ours, expected, atol=1e-9)
    assert not result.missing
    assert result.outcomes[0].metrics["nDCG@10"].mean > 0.4


# Files


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_json_lines(tmp_path: Path) -> None:
    file = write(
        tmp_path / "queries.jsonl",
        '\ufeff{"id": "1", "text": "红色水壶", "relevant": ["kettle.jpg", "x"], "mood": "fine"}',
        "",
        '{"id": 2, "image": "pictures/a.png", "relevant": {"7": 2, "z": 0}}',
        '{"_id": "3", "text": "t", "image": "data:image/png;base64,AAAA", "relevant": [7]}',
    )
    one, two, three = read_judgements(file)
    assert one == JudgedQuery("1", {"kettle.jpg": 1, "x": 1}, "红色水壶")
    assert two == JudgedQuery("2", {"7": 2, "z": 0}, image=str(tmp_path / "pictures/a.png"))
    assert (three.relevant, three.image) == ({"7": 1}, "data:image/png;base64,AAAA")


def test_a_folder_of_beir(tmp_path: Path) -> None:
    write(
        tmp_path / "queries.jsonl",
        '{"_id": "q1", "text": "one", "metadata": {}}',
        '{"_id": "q2", "text": "not judged"}',
        '{"_id": "q3", "text": "nothing relevant"}',
    )
    qrels = ["query-id\tcorpus-id\tscore", "q1\td 1\t2", "q1\td2\t0", "q3\td1\t0"]
    write(tmp_path / "qrels" / "dev.tsv", *qrels)
    expected = [JudgedQuery("q1", {"d 1": 2, "d2": 0}, "one")]
    assert read_judgements(tmp_path) == expected
    write(tmp_path / "qrels" / "train.tsv", *qrels)
    with pytest.raises(InputError, match=r"dev\.tsv, train\.tsv: say which"):
        read_judgements(tmp_path)
    assert read_judgements(tmp_path, tmp_path / "qrels" / "dev.tsv") == expected
    write(tmp_path / "qrels" / "test.tsv", qrels[0], "q2\td9\t1")
    assert read_judgements(tmp_path) == [JudgedQuery("q2", {"d9": 1}, "not judged")]


def test_qrels_of_trec(tmp_path: Path) -> None:
    topics = write(tmp_path / "topics.tsv", "301\tforeign minorities", "302\tpolio\r")
    qrels = write(tmp_path / "qrels.txt", "301 0 FBIS3-1 1", "301 0 FBIS3-2 -2", "302 Q0 d 3")
    assert read_judgements(topics, qrels) == [
        JudgedQuery("301", {"FBIS3-1": 1, "FBIS3-2": 0}, "foreign minorities"),
        JudgedQuery("302", {"d": 3}, "polio"),
    ]


GOOD = '{"id": "1", "text": "t", "relevant": ["a"]}'


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": "2", "text": "t", "relevant": ["a"]', "not a line of JSON"),
        ("[" * 100_000, "not a line of JSON"),
        ("not JSON", "not a line of JSON"),
        ('["2"]', "expected a JSON object, not a list"),
        ('{"text": "t", "relevant": ["a"]}', "id: Field required"),
        ('{"id": "", "text": "t", "relevant": ["a"]}', "needs an id"),
        ('{"id": "1", "text": "t", "relevant": ["a"]}', "the id '1' was there before"),
        ('{"id": "2", "relevant": ["a"]}', "neither a text nor an image"),
        ('{"id": "2", "text": " ", "relevant": ["a"]}', "neither a text nor an image"),
        ('{"id": "2", "text": ["t"], "relevant": ["a"]}', "text: Input should be a valid string"),
        ('{"id": "2", "text": "t"}', "nothing relevant"),
        ('{"id": "2", "text": "t", "relevant": []}', "nothing relevant"),
        ('{"id": "2", "text": "t", "relevant": {"a": 0}}', "nothing relevant"),
        ('{"id": "2", "text": "t", "relevant": "a"}', "relevant: "),
        ('{"id": "2", "text": "t", "relevant": null}', "relevant: "),
        ('{"id": "2", "text": "t", "relevant": [["a"]]}', "relevant: "),
        ('{"id": "2", "text": "t", "relevant": {"a": -1}}', "relevant.a: "),
        ('{"id": "2", "text": "t", "relevant": {"a": 1.5}}', "relevant.a: "),
        ('{"id": "2", "text": "t", "relevant": {"a": 1e9}}', "relevant.a: "),
        ('{"id": "2", "text": "t", "relevant": {"a": true}}', "relevant.a: "),
        ('{"id": "2", "image": "https://x.org/a.png", "relevant": ["a"]}', "not fetched"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    file = write(tmp_path / "queries.jsonl", GOOD, "", line)
    with pytest.raises(InputError) as raised:
        read_judgements(file)
    assert f"{file}, line 3: " in str(raised.value)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("qrels", "says"),
    [
        ("1 0 a one", "line 2: expected a query, a name and a grade"),
        ("1 a", "line 2: expected"),
        ("1 0 a b 1", "line 2: expected"),
        ("1 0 a 1001", "line 2: expected"),
        ("9 0 a 1", "there is no query '9'"),
    ],
)
def test_malformed_qrels(tmp_path: Path, qrels: str, says: str) -> None:
    topics = write(tmp_path / "topics.tsv", "1\tone")
    with pytest.raises(InputError, match=says):
        read_judgements(topics, write(tmp_path / "qrels", "1 0 a 1", qrels))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match=r"nowhere\.jsonl"):
        read_judgements(tmp_path / "nowhere.jsonl")
    with pytest.raises(UnreadableSource, match=r"test\.tsv"):
        read_judgements(tmp_path)
    topics = write(tmp_path / "topics.tsv", "1 no tab")
    with pytest.raises(InputError, match="line 1: expected an id, a tab and a text"):
        read_judgements(topics, write(tmp_path / "qrels", "1 0 a 1"))
    (tmp_path / "empty.jsonl").write_text(" \n\n")
    with pytest.raises(InputError, match="the file is empty"):
        read_judgements(tmp_path / "empty.jsonl")
    (tmp_path / "picture.jsonl").write_bytes(b"\x89PNG\r\n\xff")
    with pytest.raises(InputError, match="not a text in UTF-8"):
        read_judgements(tmp_path / "picture.jsonl")


# Looks


def shown(evaluation: Evaluation, width: int) -> str:
    from rich.console import Console

    console = Console(width=width, record=True, file=io.StringIO())
    console.print(*tables(evaluation, width))
    return console.export_text()


def test_the_tables_fit_a_narrow_terminal() -> None:
    queries = [asked({letter: 1}, letter) for letter in "abcdefgh"]
    ways = [
        Way("calibrated", fusion=fixed("abcdefgh")),
        Way("calibrated without text->image [/red]", fusion=fixed("hgfedcba")),
        Way("nothing", fusion=fixed("")),
    ]
    text = shown(evaluate(lettered(), queries, ways=ways), 80)
    assert max(map(len, text.splitlines())) <= 80
    for words in ("recall@10", "nDCG@10 against calibrated", "text->image [/red]", "0.000", "p"):
        assert words in text
    for width in (70, 60, 50, 40, 30):
        text = shown(evaluate(lettered(), queries, ways=ways), width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        for words in ("way", "calibrated", "text->image", "nDCG@10", "-0.494"):
            assert words in text
        assert text.count("95% interval") == {70: 2, 60: 1}.get(width, 0)


def test_the_plot_is_one_inert_file() -> None:
    from xml.etree import ElementTree

    ways = [
        Way("calibrated", fusion=fixed("abc")),
        Way("text->text alone", fusion=fixed("cba")),
        Way("<script>alert(1)</script> & 中文\x1b", fusion=fixed("bca")),
        Way("takes none", routes=("image->image",)),
    ]
    queries = [asked({letter: 1}, letter) for letter in "abc"]
    svg = plot_svg(evaluate(lettered("abc"), queries, ways=ways))
    root = ElementTree.fromstring(svg)
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "<script>alert(1)</script> & 中文\\x1b" in texts
    assert "<script" not in svg
    assert "takes none" not in texts
    assert "#0a7abf" in svg  # the colour of text->text
    width = float(root.get("width", "0"))
    for name in ("x", "x1", "x2", "cx"):
        for node in root.iter():
            assert 0 <= float(node.get(name, "0")) <= width


def test_the_plot_of_one_way_has_no_differences() -> None:
    svg = plot_svg(evaluate(lettered("abc"), [asked(["a"])], ways=[Way("w", fusion=fixed("a"))]))
    assert "1.000" in svg
    assert "1 quer" in svg
