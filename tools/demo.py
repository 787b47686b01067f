"""Stylise the sample pair in about a minute on two cores, with VGG-19 if it is available.

python tools/demo.py out/demo.png
"""

import os
import sys

from nst_cli import samples, weights
from nst_cli.cli.progress import tqdm
from nst_cli.errors import NstError

TRAINED = "--preset fast --size 320"
# From noise the built-in filters draw more strokes than from the content, where preset fast
# starts; their deeper layers add next to nothing.
BUILTIN = (
    "--weights builtin --size 320 --iterations 150 "
    "--style-layers relu1_1,relu2_1,relu3_1 --content-layers relu3_1"
)

# Seconds. Without a network the demo goes on at once.
_TIMEOUT = 10


def choices():
    """Return the options of the transfer, after fetching the weights where they are missing."""
    try:
        weights.find()
        return TRAINED
    except NstError:
        print("Fetching the weights of VGG-19, 80 MB.", file=sys.stderr)
    try:
        with tqdm(unit="B", unit_scale=True, unit_divisor=1024, delay=0.2) as bar:

            def progress(done, total):
                bar.total = total
                bar.update(done - bar.n)

            weights.fetch(progress=progress, timeout=_TIMEOUT)
        return TRAINED
    except NstError as error:
        print(
            f"{error}\nThe demo goes on with the built-in filter bank: colours and brush strokes "
            "come through, objects' textures do not.",
            file=sys.stderr,
        )
        return BUILTIN


def main(output):
    """Make the picture `output`, as the command would, in this process's place."""
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
