"""Views of finished runs: figures, reports, plots and the theorem."""

import os
from typing import Union

#: A path, as text or as an object.
StrPath = Union[str, "os.PathLike[str]"]
