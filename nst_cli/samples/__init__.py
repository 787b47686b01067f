"""The sample pictures: a landscape as the content, two painted textures as styles.

``tools/paint.py`` computed all three from noise and arithmetic, so they are in the public domain
(CC0).

Attributes
----------
CONTENT : pathlib.Path
    A mountain lake in evening light, as a photograph would show it.
STYLES : tuple of pathlib.Path
    Two pictures made of brush strokes. The first has whirls of curved strokes in blues and
    yellows; the second a patchwork of broad knife strokes in reds, ochres and teals, with dark
    contours.
"""

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent

CONTENT = _FOLDER / "landscape.jpg"
STYLES = (_FOLDER / "whirls.jpg", _FOLDER / "patchwork.jpg")
