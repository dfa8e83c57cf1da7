"""Which reader takes a file: by content first, then by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmrag.errors import DamagedSource, EmptySource, TooLarge, UnsupportedSource
from mmrag.readers import HEAD, READERS, reader_for
from mmrag.sniff import sniff

from .files import Page, media_folder, pdf, picture, png_header, saved, source, text_at

PDF = pdf(Page(text_at(50, 700, "Hello")))
PNG = saved(picture(), "PNG")


@pytest.mark.parametrize(
    ("name", "data", "reader"),
    [
        ("a.png", PNG, "image"),
        ("a.xyz", PNG, "image"),
        ("no suffix", PNG, "image"),
        ("a.txt", PNG, "image"),
        ("a.pdf", PNG, "image"),
        ("a.pdf", PDF, "pdf"),
        ("a.bin", PDF, "pdf"),
        ("a.jpg", PDF, "pdf"),
        ("a.pdf", b"mail header\n" + PDF, "pdf"),
        ("a.txt", b"\n\n" + PDF, "pdf"),
        ("a.txt", b"what %PDF- means", "text"),
        ("a.txt", b"BMW builds cars in Bavaria", "text"),
        ("A.MD", b"# Title", "text"),
        ("a.csv", b"a,b\n", "text"),
        ("a\nb 🐼.jsonl", b"{}", "text"),
    ],
)
def test_content_decides_before_the_name(name: str, data: bytes, reader: str) -> None:
    assert reader_for(Path(name), data[:HEAD]) is READERS[reader]


@pytest.mark.parametrize("name", ["a.jpg", "a.HEIC", "a.tiff"])
def test_a_text_that_is_named_as_a_picture_is_damaged(name: str) -> None:
    with pytest.raises(DamagedSource, match="its name says image, its content is not one"):
        reader_for(Path(name), b"I am a text")


def test_a_text_that_is_named_as_a_pdf_is_damaged() -> None:
    with pytest.raises(DamagedSource, match="its name says PDF, its content is not one"):
        reader_for(Path("a.pdf"), b"<html>sign in first</html>")


@pytest.mark.parametrize("name", ["a.docx", "a.mp4", "a.svg", "noname"])
def test_other_files_are_told_what_is_supported(name: str) -> None:
    with pytest.raises(UnsupportedSource, match=r"supported are pictures.*PDF, and text.*\.md"):
        reader_for(Path(name), b"PK\x03\x04 or anything")


@pytest.mark.parametrize("name", ["a.jpg", "a.txt", "a.pdf", "a.docx"])
def test_a_file_without_bytes_is_empty_whatever_its_name(name: str) -> None:
    with pytest.raises(EmptySource, match="no bytes"):
        reader_for(Path(name), b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_pictures_are_known_by_their_first_bytes(kind: str) -> None:
    assert sniff(saved(picture(), kind)[:64]) == f"image/{kind.lower()}"
    assert sniff(saved(picture(), kind)[:3]) in (None, f"image/{kind.lower()}"), "however few"


def test_a_film_is_no_heic() -> None:
    assert sniff(b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(40)) is None
    assert sniff(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)) == "image/heic"
    assert sniff(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif" + bytes(40)) == "image/avif"


def test_a_picture_becomes_one_record(tmp_path: Path) -> None:
    path = tmp_path / "a\nname 🐼.txt"
    exif = picture().getexif()
    exif[0x0112] = 6
    path.write_bytes(saved(picture(), "PNG", exif=exif))
    [part] = READERS["image"].read(source(path), media_folder(tmp_path), 224)
    image = part.record.image
    assert image is not None
    assert (image.uri, image.mime, image.width, image.height) == (str(path), "image/png", 64, 96)
    assert part.image is not None
    assert part.image.size == (64, 96)
    assert part.record.source == path.name
    assert part.record.text == ""
    [again] = READERS["image"].read(source(path), media_folder(tmp_path), 224)
    assert again.record == part.record


def test_a_bomb_is_refused_by_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(50_000, 50_000))
    with pytest.raises(TooLarge, match="50,000 x 50,000"):
        list(READERS["image"].read(source(path), media_folder(tmp_path), 224))


def test_importing_the_readers_loads_neither_pil_nor_pdfium() -> None:
    code = (
        "import sys, mmrag.readers; from pathlib import Path; "
        "mmrag.readers.reader_for(Path('a.txt'), b'text'); "
        "print(sorted({'PIL', 'pypdfium2', 'numpy', 'pillow_heif'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
