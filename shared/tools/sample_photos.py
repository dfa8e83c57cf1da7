"""Copy the sample photographs out of the packages that ship them.

Every photograph is reduced to at most 400 pixels and loses its metadata. Authors and licences
are listed in ``shared/mmrag/sample/LICENSES.md``; only pictures whose own licence note was found
(public domain, CC0 or CC BY) are in the table below.
"""

from __future__ import annotations

import bz2
import io
import pickle
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

LONGEST_SIDE = 400
JPEG_QUALITY = 80

SKIMAGE = "scikit_image-*.whl"
SCIPY = "scipy-1.9*.whl"
SKLEARN = "scikit_learn-*.whl"
MATPLOTLIB = "matplotlib-*.whl"
XPLANET = "xplanet-images_*.deb"
GCOMPRIS = "gcompris-qt-data_*.deb"

_ACTIVITIES = "gcompris/src/activities"
_MONUMENTS = f"{_ACTIVITIES}/categorization/resource/images/monuments"
_TOOLS = f"{_ACTIVITIES}/categorization/resource/images/tools"
_FARM = f"{_ACTIVITIES}/explore_farm_animals/resource/animals"
_WORLD = f"{_ACTIVITIES}/explore_world_animals/resource/animals"
_PLANETS = f"{_ACTIVITIES}/solar_system/resource"

# Name of the sample picture -> (package, member). A GCompris member is "archive.rcc:path".
PHOTOS: dict[str, tuple[str, str]] = {
    "astronaut.jpg": (SKIMAGE, "skimage/data/astronaut.png"),
    "photographer.jpg": (SKIMAGE, "skimage/data/camera.png"),
    "chelsea.jpg": (SKIMAGE, "skimage/data/chelsea.png"),
    "espresso.jpg": (SKIMAGE, "skimage/data/coffee.png"),
    "brick-wall.jpg": (SKIMAGE, "skimage/data/brick.png"),
    "gravel.tif": (SKIMAGE, "skimage/data/gravel.png"),
    "grass.jpg": (SKIMAGE, "skimage/data/grass.png"),
    "fundus.jpg": (SKIMAGE, "skimage/data/retina.jpg"),
    "single-cell.jpg": (SKIMAGE, "skimage/data/cell.png"),
    "deep-field.jpg": (SKIMAGE, "skimage/data/hubble_deep_field.jpg"),
    "masked-visitor.jpg": (SCIPY, "scipy/misc/face.dat"),
    "stairway.jpg": (SCIPY, "scipy/misc/ascent.dat"),
    "hillside-temple.jpg": (SKLEARN, "sklearn/datasets/images/china.jpg"),
    "dahlia.jpg": (SKLEARN, "sklearn/datasets/images/flower.jpg"),
    "grace-hopper.jpg": (MATPLOTLIB, "matplotlib/mpl-data/sample_data/grace_hopper.jpg"),
    "earth-flat.jpg": (XPLANET, "./usr/share/xplanet/images/earth.jpg"),
    "blue-marble.png": (GCOMPRIS, f"solar_system.rcc:{_PLANETS}/earth.webp"),
    "saturn.webp": (GCOMPRIS, f"solar_system.rcc:{_PLANETS}/saturn.webp"),
    "our-star.png": (GCOMPRIS, f"solar_system.rcc:{_PLANETS}/sun.webp"),
    "kitten-and-yarn.jpg": (GCOMPRIS, f"explore_farm_animals.rcc:{_FARM}/cat.webp"),
    "hens.jpg": (GCOMPRIS, f"explore_farm_animals.rcc:{_FARM}/chicken.webp"),
    "pasture.jpg": (GCOMPRIS, f"explore_farm_animals.rcc:{_FARM}/cow.webp"),
    "shepherd.jpg": (GCOMPRIS, f"explore_farm_animals.rcc:{_FARM}/dog.webp"),
    "white-duck.jpg": (GCOMPRIS, f"explore_farm_animals.rcc:{_FARM}/duck.webp"),
    "herd.jpg": (GCOMPRIS, f"explore_farm_animals.rcc:{_FARM}/horse.webp"),
    "night-bird.jpg": (GCOMPRIS, f"explore_farm_animals.rcc:{_FARM}/owl.webp"),
    "island-pig.jpg": (GCOMPRIS, f"explore_farm_animals.rcc:{_FARM}/pig.webp"),
    "woolly.jpg": (GCOMPRIS, f"explore_farm_animals.rcc:{_FARM}/sheep.webp"),
    "moose.jpg": (GCOMPRIS, f"explore_world_animals.rcc:{_WORLD}/moose.webp"),
    "bamboo-eater.jpg": (GCOMPRIS, f"explore_world_animals.rcc:{_WORLD}/panda.webp"),
    "basking.jpg": (GCOMPRIS, f"explore_world_animals.rcc:{_WORLD}/crocodile.webp"),
    "berlin-gate.jpg": (GCOMPRIS, f"categorization.rcc:{_MONUMENTS}/brandenburgGate.webp"),
    "rome-arena.jpg": (GCOMPRIS, f"categorization.rcc:{_MONUMENTS}/colosseum.webp"),
    "paris-tower.jpg": (GCOMPRIS, f"categorization.rcc:{_MONUMENTS}/eiffelTower.webp"),
    "giza.jpg": (GCOMPRIS, f"categorization.rcc:{_MONUMENTS}/greatPyramid.webp"),
    "mutianyu.webp": (GCOMPRIS, f"categorization.rcc:{_MONUMENTS}/greatWall.webp"),
    "pisa.jpg": (GCOMPRIS, f"categorization.rcc:{_MONUMENTS}/leaningTowerOfPisa.webp"),
    "acropolis.jpg": (GCOMPRIS, f"categorization.rcc:{_MONUMENTS}/parthenon.webp"),
    "harbour-lady.jpg": (GCOMPRIS, f"categorization.rcc:{_MONUMENTS}/statueOfLiberty.webp"),
    "agra.jpg": (GCOMPRIS, f"categorization.rcc:{_MONUMENTS}/tajMahal.webp"),
    "granite-faces.jpg": (GCOMPRIS, f"categorization.rcc:{_MONUMENTS}/mountRushmore.webp"),
    "claw-hammer.jpg": (GCOMPRIS, f"categorization.rcc:{_TOOLS}/hammer5.webp"),
    "heavy-duty.jpg": (GCOMPRIS, f"categorization.rcc:{_TOOLS}/hammer3.webp"),
    "tape-measure.jpg": (GCOMPRIS, f"categorization.rcc:{_TOOLS}/measuringTape1.webp"),
    "multimeter.jpg": (GCOMPRIS, f"categorization.rcc:{_TOOLS}/multimeter1.webp"),
    "scissors.jpg": (GCOMPRIS, f"categorization.rcc:{_TOOLS}/scissors1.webp"),
    "phillips.jpg": (GCOMPRIS, f"categorization.rcc:{_TOOLS}/screwDriver1.webp"),
    "wrench.jpg": (GCOMPRIS, f"categorization.rcc:{_TOOLS}/wrench.webp"),
    "old-sickle.jpg": (GCOMPRIS, f"categorization.rcc:{_TOOLS}/sickle.webp"),
    "spray-bottle.jpg": (GCOMPRIS, f"categorization.rcc:{_TOOLS}/spray.webp"),
    "red-pliers.jpg": (GCOMPRIS, f"categorization.rcc:{_TOOLS}/plier3.webp"),
}

# Stored turned by 90 degrees with EXIF orientation 6, as a telephone does.
ROTATED = {"harbour-lady.jpg"}


def _read_resource(archive: bytes, wanted: str) -> bytes:
    """Return one uncompressed file of a Qt binary resource (format version 2 or later)."""
    if archive[:4] != b"qres":
        raise ValueError("not a Qt binary resource")
    version, tree, data, names = struct.unpack(">4I", archive[4:20])
    size = 14 if version < 2 else 22

    def name(offset: int) -> str:
        start = names + offset
        (length,) = struct.unpack(">H", archive[start : start + 2])
        return archive[start + 6 : start + 6 + 2 * length].decode("utf-16-be")

    node = 0
    for part in wanted.split("/"):
        count, first = struct.unpack(">II", archive[tree + node * size + 6 :][:8])
        for child in range(first, first + count):
            (offset,) = struct.unpack(">I", archive[tree + child * size :][:4])
            if name(offset) == part:
                node = child
                break
        else:
            raise FileNotFoundError(wanted)
    (offset,) = struct.unpack(">I", archive[tree + node * size + 10 :][:4])
    (length,) = struct.unpack(">I", archive[data + offset :][:4])
    return archive[data + offset + 4 :][:length]


def _deb_reader(package: Path) -> Callable[[str], bytes]:
    tar = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(package)], check=True, capture_output=True
    ).stdout
    files = tarfile.open(fileobj=io.BytesIO(tar))  # noqa: SIM115  read as long as needed

    def read(member: str) -> bytes:
        archive, _, inner = member.partition(":")
        path = f"./usr/share/gcompris-qt/rcc/{archive}" if inner else archive
        stream = files.extractfile(path)
        if stream is None:
            raise FileNotFoundError(path)
        content = stream.read()
        return _read_resource(content, inner) if inner else content

    return read


def _decode(member: str, content: bytes) -> Image.Image:
    if member.endswith("face.dat"):
        pixels = np.frombuffer(bz2.decompress(content), dtype=np.uint8).reshape(768, 1024, 3)
        return Image.fromarray(pixels)
    if member.endswith("ascent.dat"):
        return Image.fromarray(np.array(pickle.loads(content)).astype(np.uint8))
    return Image.open(io.BytesIO(content))


def save_photo(image: Image.Image, target: Path) -> None:
    """Write a picture without metadata in the format that the suffix names."""
    image = image.copy()
    limit = 200 if target.suffix == ".tif" else LONGEST_SIDE
    image.thumbnail((limit, limit), Image.Resampling.LANCZOS)
    if target.suffix == ".jpg":
        image = image if image.mode == "L" else image.convert("RGB")
        if target.name in ROTATED:
            exif = Image.Exif()
            exif[0x0112] = 6
            turned = image.transpose(Image.Transpose.ROTATE_90)
            turned.save(target, quality=JPEG_QUALITY, exif=exif)
        else:
            image.save(target, quality=JPEG_QUALITY, optimize=True)
    elif target.suffix == ".webp":
        image.save(target, quality=JPEG_QUALITY, exif=b"")
    elif target.suffix == ".tif":
        image.convert("L").save(target, compression="tiff_deflate")
    else:
        image.thumbnail((240, 240), Image.Resampling.LANCZOS)
        image.quantize(192, method=Image.Quantize.FASTOCTREE).save(target, optimize=True)


def copy_photos(packages: Path, target: Path) -> list[str]:
    """Copy every photograph whose package lies in ``packages``; return the names written."""
    readers: dict[str, Callable[[str], bytes]] = {}
    for pattern in {package for package, _ in PHOTOS.values()}:
        found = sorted(packages.glob(pattern))
        if not found:
            raise FileNotFoundError(f"{pattern} is not in {packages}")
        newest = found[-1]
        is_wheel = newest.suffix == ".whl"
        readers[pattern] = zipfile.ZipFile(newest).read if is_wheel else _deb_reader(newest)
    for name, (pattern, member) in PHOTOS.items():
        save_photo(_decode(member, readers[pattern](member)), target / name)
    return list(PHOTOS)
