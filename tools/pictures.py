"""Downloads the pictures of the paper's figures, which its authors collected.

They have various licences, so they are not part of the project:

    python tools/pictures.py [FOLDER]
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Optional

import click

from nst_cli import download
from nst_cli.errors import DownloadError, shown
from nst_cli.files import StrPath

BASE_URL = "https://raw.githubusercontent.com/lyttonhao/Neural-Style-MMD/master/input/"

#: Each picture's name, Git's id of its content, and its size in bytes.
PICTURES = {
    "IMG_4343.jpg": ("eeb9f8c4c55c3c2095397ff82417ad23f2201834", 230594),
    "brad_pitt.jpg": ("addd62f751cae420dad88813f2b00ad173ea8682", 137783),
    "candy.jpg": ("f40e5a33e93329581baaa2ba564e02ce25615cbe", 376101),
    "chicago.jpg": ("0fcc2f77353adde024a8437874567825b4947d83", 219977),
    "composition_vii.jpg": ("8905515f48f69c014f98291cf010dbddaa6269f5", 202426),
    "dog.jpg": ("2f889902c2813f7d6bd2c3b4e205656fd505dec2", 136886),
    "dog1.jpg": ("700e0aa2162152a60e6ea7276be786a149668eb9", 7877),
    "escher_sphere.jpg": ("9918cf478f6f73e174d1df7b7e45a0e1284305ba", 382456),
    "feathers.jpg": ("429a9175e6515577a26ab57cb6f94b2fac2af7b3", 322013),
    "frida_kahlo.jpg": ("e4dae25fb192a676c1d68fef43e4ef46930e7599", 181185),
    "golden_gate.jpg": ("c6bd33e2fb17ef246c2695624de7a438eeee3000", 102100),
    "hoovertowernight.jpg": ("bf002a1596822cd3b908279a207f58377f70973d", 216598),
    "la_muse.jpg": ("57f7234304d3268bbd8a1f247183534b2e020f43", 703587),
    "mosaic.jpg": ("63aa06fe4296fa6e0feb39d5c6be57fc177283d7", 77378),
    "picasso_selfport1907.jpg": ("e6087827091c08630f3e4d42a2a1159f07ae08c5", 114000),
    "seated-nude.jpg": ("6a40b377a7b6adf205d47b5f4930ded39673d700", 101993),
    "shipwreck.jpg": ("73ecd1c50f498230f4c1c9198a000fc352a3600c", 144730),
    "sky1024px.jpg": ("f4f4ec349484904d50a2d718cee42d0393fc4f6a", 65049),
    "starry_night.jpg": ("d4db3c8e88f1bc85c7ca9c7f669da82ae51a402b", 315236),
    "starry_night_crop.png": ("9899d90aef7c75264cbecca80ed38bd4e21993b8", 170463),
    "the_scream.jpg": ("ab54066362c8262fc48d59ea1b1336adc3385a2e", 216723),
    "tree.jpg": ("743ef025b19dcb122356eb25b44937c2e0683e3c", 58695),
    "tree.png": ("16cbbbf511cfe5474318436fc4368eb1b1fe4eb7", 434723),
    "tubingen.jpg": ("1d271feb8dccad78d333bd469b047d9a6b258781", 406531),
    "udnie.jpg": ("3c84fd96d46ee97b21e865c2f869215db05da88c", 465199),
    "wave_crop.jpg": ("317b1a3c0c22e9c48298b8d97078610227e63429", 104768),
    "woman-with-hat-matisse.jpg": ("a4675c78d98afb52f4680f5bc151a9f09310f7e8", 101689),
}


def fetch(
    folder: StrPath,
    base_url: str = BASE_URL,
    progress: Optional[Callable[[Path], object]] = None,
) -> dict[str, str]:
    """Download every picture that `folder` lacks; a failure does not stop the others.

    Parameters
    ----------
    folder : path-like
        Created if it does not exist.
    base_url : str
        Address of the folder that contains the pictures.
    progress : callable, optional
        Called with the path of each picture that exists with the right checksum.

    Returns
    -------
    dict of str to str
        For each picture that failed, the reason in one line.
    """
    failures = {}
    for name, (blob_id, size) in PICTURES.items():
        url = f"{base_url.rstrip('/')}/{name}"
        try:
            path = download.fetch(Path(folder, name), url, blob_id, size)
        except DownloadError as error:
            failures[name] = shown(error)
        else:
            if progress:
                progress(path)
    return failures


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", default="images")
@click.option("--base-url", default=BASE_URL, help="Another address of the same pictures.")
def main(folder: str, base_url: str) -> None:
    """Download the pictures of the paper's figures to FOLDER, by default images.

    Pictures that exist with the right checksum are not downloaded again.

    \b
    Example:
      python tools/pictures.py images
    """
    # As bytes, because a path may not be valid text.
    failures = fetch(folder, base_url, progress=lambda path: click.echo(os.fsencode(path)))
    if failures:
        click.echo(f"{len(failures)} of {len(PICTURES)} pictures failed:", err=True)
        width = max(map(len, failures))
        for name, reason in failures.items():
            click.echo(f"{name:<{width}}  {reason}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python tools/pictures.py")
