"""Pictures: the same pixels however they come, and a clear error for each that cannot be used."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
import threading
import time
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mmrag import media
from mmrag.errors import (
    DamagedSource,
    EmptySource,
    InputError,
    MissingExtra,
    TooLarge,
    UnreadableSource,
)
from mmrag.media import Limits, load

from .files import picture, png_header, saved


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def mean_difference(one: Image.Image, two: Image.Image) -> float:
    assert one.size == two.size
    return float(np.abs(array(one) - array(two)).mean())


# One picture, many ways in


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_all_ways_in_give_the_same_picture(tmp_path: Path, kind: str) -> None:
    data = saved(picture(), kind)
    path = tmp_path / "no-suffix"
    path.write_bytes(data)
    mime = f"image/{kind.lower()}"
    expected = load(path)
    assert expected.mime == mime
    assert (expected.width, expected.height) == expected.image.size == (96, 64)
    assert expected.image.mode == "RGB"
    assert expected.sha256 == hashlib.sha256(data).hexdigest()
    assert mean_difference(expected.image, picture()) < 6
    for same in (str(path), data, io.BytesIO(data), media.data_url(data, mime)):
        assert load(same) == expected
    assert load(Image.open(path)).image == expected.image


def test_a_file_object_is_read_from_its_start_and_its_position_is_kept() -> None:
    file = io.BytesIO(saved(picture(), "PNG"))
    file.seek(50)
    assert load(file).image == picture()
    assert file.tell() == 50


def test_heic_gives_the_same_picture(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.jpg"  # a wrong name, as phones' exports have
    heif.from_pillow(picture()).save(path, format="HEIF")
    found = load(path)
    assert found.mime == "image/heic"
    assert mean_difference(found.image, picture()) < 6


def test_heic_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    media._opener.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtra, match=r"pip install 'mmrag\[heic\]'"):
        load(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))


def test_a_pil_image_is_neither_changed_nor_shared() -> None:
    mine = picture()
    found = load(mine)
    mine.paste((0, 0, 0), (0, 0, 96, 64))
    assert found.image == picture()
    turned = saved(picture(), "JPEG", exif=orientation(6))
    opened = Image.open(io.BytesIO(turned))
    assert load(opened).image == load(turned).image
    assert opened.size == (96, 64)


def test_the_digest_of_a_pil_image_tells_pictures_and_shapes_apart() -> None:
    same = load(picture()).sha256
    assert same == load(picture().copy()).sha256
    assert same != load(picture(seed=1)).sha256
    flat = Image.new("RGB", (20, 30))
    assert load(flat).sha256 != load(flat.transpose(Image.Transpose.ROTATE_90)).sha256


# Orientation


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_picture_is_upright(turn: int, kind: str) -> None:
    """Against PIL's own reading of the eight orientations."""
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(picture(), kind, exif=orientation(turn), **options)
    found = load(data)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert np.array_equal(array(found.image), array(expected))
    assert (found.width, found.height) == ((64, 96) if turn >= 5 else (96, 64))
    again = ImageOps.exif_transpose(found.image)
    assert again.size == found.image.size, "nothing is left that would turn it twice"


def test_upright_and_turned_copies_have_the_same_pixels() -> None:
    turned = picture().transpose(Image.Transpose.ROTATE_90)  # as a camera held sideways saves it
    assert load(saved(turned, "PNG", exif=orientation(6))).image == picture()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_cost_the_picture() -> None:
    data = saved(picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert load(data).image.size == (96, 64)


# Colours


def test_cmyk_jpeg_keeps_its_colours_also_as_adobe_writes_it() -> None:
    colours = Image.new("CMYK", (64, 64), (0, 255, 255, 0))  # full magenta and yellow: red
    data = saved(colours, "JPEG", quality=95)
    assert b"Adobe" in data, "PIL writes CMYK as Adobe does, inverted"
    red, green, blue = load(data).image.getpixel((32, 32))
    assert red > 240
    assert green < 15
    assert blue < 15


def test_16_bit_png_is_scaled_and_not_clipped() -> None:
    values = np.array([[0, 1000, 32768, 65535]], dtype=np.uint16)
    data = saved(Image.fromarray(values), "PNG")
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    found = load(data).image
    assert [found.getpixel((x, 0)) for x in range(4)] == [
        (0, 0, 0),
        (4, 4, 4),
        (128, 128, 128),
        (255, 255, 255),
    ]


@pytest.mark.parametrize(
    ("values", "mode", "expected"),
    [
        ([0.0, 0.5, 1.0], "F", [0, 128, 255]),
        ([0.0, 100.0, 255.0], "F", [0, 100, 255]),
        ([-10.0, 0.0, 10.0], "F", [0, 128, 255]),
        ([0, 32768, 65535], "I", [0, 128, 255]),
        ([0, 600_000, 1_000_000], "I", [0, 153, 255]),
    ],
)
def test_floats_and_long_integers_use_the_whole_range(
    values: list[float], mode: str, expected: list[int]
) -> None:
    kind = np.float32 if mode == "F" else np.int32
    image = Image.fromarray(np.array([values], dtype=kind))
    assert image.mode == mode
    found = load(saved(image, "TIFF")).image
    assert [found.getpixel((x, 0))[0] for x in range(3)] == expected


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "YCbCr", "HSV", "LAB"])
def test_opaque_pictures_of_every_mode_become_rgb(mode: str) -> None:
    grey = Image.new("RGB", (40, 20), (255, 255, 255)).convert("RGB")
    image = grey.convert(mode) if mode != "LAB" else Image.new("LAB", (40, 20), (255, 128, 128))
    found = load(image).image
    assert found.mode == "RGB", "no transparent pixel, no alpha"
    assert min(found.getpixel((5, 5))) >= 250


def with_hole(mode: str) -> Image.Image:
    image = picture().convert("RGBA" if mode == "P" else mode)
    hole = Image.new("L", image.size, 255)
    hole.paste(0, (0, 0, 48, 64))
    image.putalpha(hole)
    return image.quantize(64) if mode == "P" else image


@pytest.mark.parametrize("mode", ["P", "LA", "RGBA"])
def test_transparency_is_kept_where_it_is_real(mode: str) -> None:
    found = load(saved(with_hole(mode), "PNG")).image
    assert found.mode == "RGBA"
    assert found.getpixel((10, 10))[3] == 0
    assert found.getpixel((80, 10))[3] == 255


def test_transparent_colour_of_an_rgb_png() -> None:
    image = Image.new("RGB", (10, 10), (9, 9, 9))
    image.paste((1, 2, 3), (0, 0, 5, 10))
    found = load(saved(image, "PNG", transparency=(1, 2, 3))).image
    assert found.mode == "RGBA"
    assert (found.getpixel((0, 0))[3], found.getpixel((9, 9))[3]) == (0, 255)


def test_to_rgb_shows_the_background_through_the_hole() -> None:
    image = with_hole("RGBA")
    assert media.to_rgb(image).getpixel((10, 10)) == (255, 255, 255)
    assert media.to_rgb(image, (1, 2, 3)).getpixel((10, 10)) == (1, 2, 3)
    assert media.to_rgb(image).getpixel((80, 10)) == picture().getpixel((80, 10))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_stands_for_an_animation(kind: str) -> None:
    red, blue = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    data = saved(red, kind, save_all=True, append_images=[blue])
    assert Image.open(io.BytesIO(data)).n_frames == 2
    red_, _, blue_ = load(data).image.getpixel((16, 16))
    assert red_ > 200 > 50 > blue_


# Reduced decoding


def noise(width: int, height: int) -> Image.Image:
    """A photograph's statistics: large shapes, fine grain."""
    generator = np.random.default_rng(7)
    coarse = generator.integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8)
    large = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    grain = generator.normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(array(large) + grain, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("size", "target", "decoded"),
    [
        ((2400, 1600), 224, (600, 400)),  # 1/4: the next step would be below twice the target
        ((2400, 1600), 150, (300, 200)),  # 1/8
        ((1001, 801), 224, (501, 401)),  # 1/2, rounded up
        ((800, 600), 224, (800, 600)),
        ((2400, 240), 150, (2400, 240)),  # half of it would leave a short side below the target
    ],
)
def test_a_large_jpeg_is_decoded_smaller_but_never_too_small(
    size: tuple[int, int], target: int, decoded: tuple[int, int]
) -> None:
    data = saved(noise(*size), "JPEG", quality=90)
    found = load(data, target=target)
    assert found.image.size == decoded
    assert (found.width, found.height) == size
    if decoded != size:
        assert max(decoded) >= 2 * target
        assert min(decoded) >= target


def test_reduced_decoding_hardly_changes_what_an_encoder_sees() -> None:
    data = saved(noise(1600, 1200), "JPEG", quality=90)
    seen = [load(data, target=at).image.resize((224, 168)) for at in (224, None)]
    assert mean_difference(*seen) < 1.5, "of 255 levels"


def test_a_reduced_and_turned_jpeg_tells_its_own_size() -> None:
    data = saved(noise(1600, 1200), "JPEG", exif=orientation(6))
    found = load(data, target=224)
    assert found.image.size == (600, 800)
    assert (found.width, found.height) == (1200, 1600)


# What is refused


def test_empty_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    for empty in (b"", path, io.BytesIO()):
        with pytest.raises(EmptySource, match="no bytes"):
            load(empty)
    with pytest.raises(EmptySource, match="no pixels"):
        load(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.8, 0.99])
def test_truncated_jpeg_is_refused(share: float, progressive: bool) -> None:
    data = saved(noise(400, 400), "JPEG", progressive=progressive)
    with pytest.raises(DamagedSource, match="broken or truncated"):
        load(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_truncated_pictures_of_other_kinds_are_refused(kind: str) -> None:
    data = saved(noise(400, 400), kind)
    for share in (0.3, 0.7):
        with pytest.raises(DamagedSource, match="broken or truncated"):
            load(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_noise_after_a_good_header_never_escapes_as_a_pil_error(kind: str) -> None:
    data = saved(picture(), kind)
    generator = np.random.default_rng(3)
    for _ in range(60):
        broken = bytearray(data)
        for at in generator.integers(0, len(data), 12):
            broken[at] = generator.integers(0, 256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PIL's remarks on what it tolerates
                assert load(bytes(broken)).image.mode in ("RGB", "RGBA")
        except (DamagedSource, TooLarge):
            pass


@pytest.mark.parametrize("data", [b"hello, I am a text", b"%PDF-1.7\n", b"BMW builds cars" * 9])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedSource, match="not a picture: expected PNG"):
        load(data)


def test_postscript_and_photoshop_files_are_refused() -> None:
    with pytest.raises(DamagedSource, match="not a picture"):
        load(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(DamagedSource, match="not a picture"):
        load(b"8BPS\0\x01" + bytes(100))


def test_a_bomb_costs_neither_memory_nor_time() -> None:
    bomb = png_header(50_000, 50_000)
    tracemalloc.start()
    start = time.thread_time()  # not that of what else this machine does
    with pytest.raises(TooLarge, match=r"50,000 x 50,000 pixels.*100,000,000: scale it down"):
        load(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.thread_time() - start < 1
    assert peak < 5_000_000


def test_95_megapixels_are_allowed_even_where_warnings_are_errors() -> None:
    """PIL's own limit warns from 89 megapixels on; it is left as it is."""
    data = saved(Image.new("1", (10_000, 9_500)), "PNG")
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(data).image.size == (10_000, 9_500)
    assert before == Image.MAX_IMAGE_PIXELS


def test_limits_are_inclusive(tmp_path: Path) -> None:
    data = saved(picture(), "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    exact = Limits(max_pixels=96 * 64, max_bytes=len(data))
    assert load(path, limits=exact).width == 96
    for source in (path, data, io.BytesIO(data), media.data_url(data, "image/png")):
        with pytest.raises(TooLarge, match="MiB: scale it down"):
            load(source, limits=Limits(max_bytes=len(data) - 1))
    for image in (data, picture()):
        with pytest.raises(TooLarge, match=r"96 x 64 pixels"):
            load(image, limits=Limits(max_pixels=96 * 64 - 1))


def test_paths_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    for path in (tmp_path, tmp_path / "link.png", tmp_path / "gone.png", "a\0b.png"):
        with pytest.raises(UnreadableSource, match="check that it exists and may be read"):
            load(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no such pipes")
def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    """Nobody writes to the pipe, and the device has no end."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path / "link.png", Path("/dev/zero")):
        said: list[str] = []

        def opening(path: Path = path, said: list[str] = said) -> None:
            with pytest.raises(UnreadableSource) as caught:
                load(path)
            said.append(str(caught.value))

        waiting = threading.Thread(target=opening, daemon=True)
        waiting.start()
        waiting.join(10)
        assert "not a regular file" in said[0]


def test_inputs_that_are_no_picture() -> None:
    for url in ("http://example.org/a.png", "HTTPS://example.org/a.png"):
        with pytest.raises(InputError, match="URLs are not fetched: download the picture first"):
            load(url)
    for url in ("s3://bucket/a.png", "ftp://host/a.png", "gs://b/a.png", "hdfs+x.y-z://a"):
        with pytest.raises(InputError, match="URLs are not fetched: download the picture first"):
            load(url)
    with pytest.raises(InputError, match="URLs are not fetched: give the path alone"):
        load("file:///tmp/a.png")
    for path in ("C://a.png", "a/b://c.png", "://a.png"):
        with pytest.raises(UnreadableSource):
            load(path)
    with pytest.raises(InputError, match="path of the picture is empty"):
        load("")
    with pytest.raises(InputError, match="not int"):
        load(7)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="binary mode"):
        load(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="data:image/png;base64"):
        load("data:image/png,plain")
    with pytest.raises(DamagedSource, match="base64"):
        load("data:image/png;base64,@@@@")


# What goes out


def test_thumbnails_are_small_and_upright() -> None:
    data = saved(noise(1600, 800), "JPEG", exif=orientation(6))
    small = media.thumbnail(data)
    assert media.sniff(small) == "image/jpeg"
    assert Image.open(io.BytesIO(small)).size == (128, 256)
    assert len(small) < 20_000
    assert Image.open(io.BytesIO(media.thumbnail(picture(40, 30)))).size == (40, 30)
    with pytest.raises(InputError, match="1 pixel or more"):
        media.thumbnail(data, 0)


def test_thumbnails_keep_transparency() -> None:
    small = media.thumbnail(saved(with_hole("RGBA"), "PNG"), 32)
    assert media.sniff(small) == "image/png"
    assert load(small).image.getpixel((2, 2))[3] == 0


def test_encoding_keeps_pixels_and_drops_metadata() -> None:
    found = load(saved(picture(), "PNG", exif=orientation(6), icc_profile=b"x" * 200)).image
    data = media.encode_png(found)
    assert load(data).image == found
    assert Image.open(io.BytesIO(data)).info == {}
    assert mean_difference(load(media.encode_jpeg(found, 95)).image, found) < 3


def test_data_urls_say_what_they_hold() -> None:
    url = media.data_url(b"abc", "image/png")
    assert url == "data:image/png;base64," + base64.b64encode(b"abc").decode()


def test_base64_given_for_a_path_is_not_quoted_whole() -> None:
    with pytest.raises(UnreadableSource) as caught:
        media.load("iVBORw0KGgo" * 10_000)
    assert len(str(caught.value)) < 1200


def test_one_open_file_or_picture_may_be_given_to_several_threads(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.effect_noise((900, 900), 60).save(path)
    with path.open("rb") as file, Image.open(path) as late, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(media.load, [file, late] * 8))
    assert len({picture.image.tobytes() for picture in found}) == 1
