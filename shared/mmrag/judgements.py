"""Judged queries, and the files that hold them: JSON lines, BEIR's folders, TREC's qrels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator

from mmrag.errors import InputError
from mmrag.inputs import refused

__all__ = ["MAX_GRADE", "JudgedQuery", "read_judgements"]

MAX_GRADE = 1000

_Grade = Annotated[int, Field(strict=True, ge=0, le=MAX_GRADE)]
_WEB = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query in words, as a picture, or both, and what answers it.

    ``image`` is the path of a file, or a data URL. ``relevant`` has a grade a name: the id of a
    record, the path of a file or the end of one (``cat.jpg``, ``pictures/cat.jpg``), or a page of
    a file (``manual.pdf#page=3``). A grade is the gain in nDCG, as in trec_eval and BEIR; from 1
    on it is relevant.

    Raises:
        InputError: there is no id, neither words nor a picture, nothing relevant, or a grade that
            is no whole number in 0..1000.
    """

    id: str
    relevant: Mapping[str, int]
    text: str | None = None
    image: str | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise InputError("a query needs an id")
        if not (self.text or "").strip() and not self.image:
            raise InputError(f"query {self.id!r} has neither a text nor an image")
        if (self.image or "").lower().startswith(_WEB):
            raise InputError(f"query {self.id!r}: URLs are not fetched, give the path of a file")
        for name, grade in self.relevant.items():
            if type(grade) is not int or not 0 <= grade <= MAX_GRADE:
                raise InputError(
                    f"query {self.id!r}: the grade of {name!r} is a whole number from 0 to "
                    f"{MAX_GRADE}, not {grade!r}"
                )
        if not any(self.relevant.values()):
            raise InputError(f"query {self.id!r} has nothing relevant: it could only be missed")


def read_judgements(path: str | Path, qrels: str | Path | None = None) -> list[JudgedQuery]:
    """The judged queries of a file, or of a folder as BEIR has them.

    - A file of JSON lines: ``{"id": "q1", "text": "a red kettle", "relevant": ["kettle.jpg"]}``.
      ``image`` is a path from the file's folder on; ``relevant`` may be grades by name. Other keys
      are ignored.
    - A folder of ``queries.jsonl`` (``_id`` and ``text``) and ``qrels/test.tsv``, or the only file
      of ``qrels``.
    - With ``qrels``: a file of queries, JSON lines as above or lines of an id, a tab and a text.
      ``qrels`` are BEIR's (query, name, grade) or TREC's (query, anything, name, grade); columns
      are parted by tabs, or by spaces where there is no tab. Queries that nothing is relevant for
      are left out; a grade below 0 counts as 0.

    Raises:
        UnreadableSource: a file is not there or cannot be opened.
        InputError: a file is empty or malformed; the message has the number of the line.
    """
    path = Path(path)
    if path.is_dir():
        qrels = qrels or _qrels_in(path / "qrels")
        path = path / "queries.jsonl"
    if qrels is None:
        queries = [_query(line, path.parent) for line in _objects(path)]
    else:
        grades = _grades(Path(qrels))
        asked = {query.id: query for query in _asked(path)}
        if lost := sorted(grades.keys() - asked.keys()):
            raise InputError(f"{qrels}: there is no query {lost[0]!r} in {path}")
        queries = [
            _query(line, path.parent, grades[name])
            for name, line in asked.items()
            if any(grades.get(name, {}).values())
        ]
    if not queries:
        raise InputError(f"{path}: there is no judged query in it")
    return queries


class _Line(BaseModel):
    """A line of JSON; ``where`` says which, for messages."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    where: str
    id: str = Field(validation_alias=AliasChoices("id", "_id"))
    text: str | None = None
    image: str | None = None
    relevant: dict[str, _Grade] = {}

    @field_validator("relevant", mode="before")
    @classmethod
    def _graded(cls, given: Any) -> Any:
        if isinstance(given, list) and all(isinstance(name, str | int) for name in given):
            return {str(name): 1 for name in given}
        return given


def _query(line: _Line, folder: Path, relevant: Mapping[str, int] | None = None) -> JudgedQuery:
    image = line.image or None
    if image and not image.lower().startswith(("data:", *_WEB)):
        image = str(folder / image)
    try:
        return JudgedQuery(line.id, relevant or line.relevant, line.text, image)
    except InputError as error:
        raise InputError(f"{line.where}: {error}") from None


def _asked(path: Path) -> Iterator[_Line]:
    """The queries of a file without their judgements."""
    if next(_lines(path))[1].startswith("{"):
        yield from _objects(path)
        return
    for where, line in _lines(path):
        name, tab, text = line.partition("\t")
        if not tab:
            raise InputError(f"{where}: expected an id, a tab and a text, or a JSON object")
        yield _Line(where=where, id=name, text=text)


def _objects(path: Path) -> Iterator[_Line]:
    seen: set[str] = set()
    for where, text in _lines(path):
        try:
            given = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not a line of JSON ({error})") from None
        if not isinstance(given, dict):
            raise InputError(f"{where}: expected a JSON object, not a {type(given).__name__}")
        try:
            line = _Line.model_validate({**given, "where": where})
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            key = ".".join(map(str, wrong["loc"]))
            raise InputError(f"{where}: {key}: {wrong['msg']}") from None
        if line.id in seen:
            raise InputError(f"{where}: the id {line.id!r} was there before")
        seen.add(line.id)
        yield line


def _grades(path: Path) -> dict[str, dict[str, int]]:
    """The grades of each query, by name."""
    grades: dict[str, dict[str, int]] = {}
    for number, (where, line) in enumerate(_lines(path)):
        columns = line.split("\t") if "\t" in line else line.split()
        if number == 0 and columns[-1] == "score":
            continue  # BEIR's heading
        try:
            query, *_, name, said = columns
            grade = max(0, int(said))
        except ValueError:
            grade = -1
        if len(columns) not in (3, 4) or not 0 <= grade <= MAX_GRADE:
            raise InputError(
                f"{where}: expected a query, a name and a grade of at most {MAX_GRADE}, or TREC's "
                "four columns"
            )
        known = grades.setdefault(query, {})
        known[name] = max(grade, known.get(name, 0))
    return grades


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, each with its place for a message."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text in UTF-8") from None
    except OSError as error:
        raise refused(path, error) from None
    lines = enumerate(text.split("\n"), start=1)
    kept = [(f"{path}, line {number}", line.strip("\r ")) for number, line in lines if line.strip()]
    if not kept:
        raise InputError(f"{path}: the file is empty")
    yield from kept


def _qrels_in(folder: Path) -> Path:
    found = sorted(folder.glob("*.tsv"))
    if (test := folder / "test.tsv") in found or not found:
        return test
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"{folder} has {names}: say which by --qrels, or qrels=")
    return found[0]
