"""Stylises the sample pair in about a minute on two cores; uses VGG-19 if it can be downloaded.

python tools/demo.py out/demo.png
"""

import os
import sys
from typing import Optional

from nst_cli import samples, weights
from nst_cli.cli.progress import tqdm
from nst_cli.errors import NstError

TRAINED = "--preset fast --size 320"
# The built-in filters draw more strokes if the run starts from noise, unlike preset fast. Their
# deeper layers add next to nothing.
BUILTIN = (
    "--weights builtin --size 320 --iterations 150 "
    "--style-layers relu1_1,relu2_1,relu3_1 --content-layers relu3_1"
)

# Seconds without a byte after which the demo stops waiting for the weights.
_TIMEOUT = 10


def choices() -> str:
    """Return the options of the transfer; download the weights if they are missing."""
    try:
        weights.Weights.find()
        return TRAINED
    except NstError:
        print("Fetching the weights of VGG-19, 80 MB.", file=sys.stderr)
    try:
        with tqdm(unit="B", unit_scale=True, unit_divisor=1024, delay=0.2) as bar:

            def progress(done: int, total: Optional[int]) -> None:
                bar.total = total
                bar.update(done - bar.n)

            weights.fetch(progress=progress, timeout=_TIMEOUT)
        return TRAINED
    except NstError as error:
        print(
            f"{error}\nThe demo continues with the built-in filter bank: colours and brush "
            "strokes come through, objects' textures do not.",
            file=sys.stderr,
        )
        return BUILTIN


def main(output: str) -> None:
    """Replace this process by the command that makes the picture `output`."""
    try:
        options = choices().split()
    except KeyboardInterrupt:
        sys.exit(130)
    os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
    pair = [str(samples.CONTENT), str(samples.STYLES[0])]
    command = ["nst", "stylize", *pair, "-o", output, *options]
    print(" ".join(command), file=sys.stderr, flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "nst_cli", *command[1:]])


if __name__ == "__main__":
    main(sys.argv[1])
