"""Make the sample corpus: drawings, charts, diagrams, screens, photographs and the manual.

Run from the root of the repository::

    python shared/tools/make_sample.py
    python shared/tools/make_sample.py --packages DIRECTORY

The first form makes what is drawn by script. The second also copies the photographs, out of
packages downloaded into DIRECTORY beforehand: with ``pip download --no-deps`` scikit-image,
scikit-learn, matplotlib and scipy==1.9.3 (binary wheels), and with ``apt-get download``
xplanet-images and gcompris-qt-data (Debian 12). The text documents, the licence table and the
labelled queries are written by hand and are not touched.

Needs Python 3.11 or later with Pillow, numpy, matplotlib, reportlab and resvg-py, the Debian
fonts fonts-noto-cjk, fonts-droid-fallback and fonts-dejavu-core, and dpkg-deb for the photographs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sample_charts import make_charts
from sample_diagrams import make_diagrams
from sample_drawings_more import make_drawings
from sample_manual import make_manual
from sample_photos import copy_photos
from sample_screens import make_screens

SAMPLE = Path(__file__).resolve().parents[1] / "mmrag" / "sample"


def main() -> None:
    """Make the corpus and say what was written."""
    parser = argparse.ArgumentParser(description="Make the sample corpus.")
    parser.add_argument("--target", type=Path, default=SAMPLE, help="folder to write into")
    parser.add_argument("--packages", type=Path, help="folder with the downloaded packages")
    options = parser.parse_args()
    pictures = options.target / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    names = [*make_drawings(pictures), *make_charts(pictures)]
    names += [*make_diagrams(pictures), *make_screens(pictures)]
    if options.packages:
        names += copy_photos(options.packages, pictures)
    make_manual(options.target / "manual.pdf")
    size = sum(path.stat().st_size for path in options.target.rglob("*") if path.is_file())
    print(f"{len(names)} pictures and the manual; the folder holds {size:,} bytes")


if __name__ == "__main__":
    main()
