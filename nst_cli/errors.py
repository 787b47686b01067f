"""The errors that nst reports to the user; any other exception is a bug, with its traceback."""

import unicodedata
from collections.abc import Sequence
from typing import Any, Optional

# Control characters, line and paragraph separators, and surrogates, which stand for undecodable
# bytes.
_ESCAPED_CATEGORIES = {"Cc", "Zl", "Zp", "Cs"}
# Changing the writing direction can make one name look like another.
_DIRECTIONS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


class NstError(Exception):
    """A problem that the user can fix; the message is one line that says what and how."""


class ConfigError(NstError):
    """An invalid option value, or a combination of options that contradict each other.

    Parameters
    ----------
    message : str
        One line: the value, and what would have worked.
    field : str, optional
        Name of the `Config` field (``layer_weights``).
    """

    def __init__(self, message: str, field: Optional[str] = None):
        super().__init__(message)
        self.field = field


class PluginError(NstError):
    """A package that adds a method is missing, cannot be imported, or gives no valid loss."""


class ImageError(NstError):
    """A picture that cannot be read, used or written."""


class OutputError(NstError):
    """A file that cannot be written, or that would overwrite another."""


class IncompleteError(OutputError):
    """A picture was made, but not every file could be written at its place.

    Parameters
    ----------
    message : str
        One line: the file that could not be written, and where the picture is.
    outcome : object
        The `Outcome` of the run.
    """

    def __init__(self, message: str, outcome: Any = None):
        super().__init__(message)
        self.outcome = outcome


class SidecarError(NstError):
    """The record of how a picture was made is missing, broken, or not written by nst."""


class CheckpointError(NstError):
    """A checkpoint that cannot be used: damaged, or of another run."""


class BatchError(NstError):
    """A batch file that cannot be used, or workers that cannot be reached."""


class ReportError(NstError):
    """A folder or a sidecar that cannot be shown in a report."""


class LogError(NstError):
    """A log of steps that cannot be read.

    Parameters
    ----------
    message : str
        One line: the file, and the number of the broken line.
    steps : sequence of log.Step, optional
        The steps before the broken line.
    is_cut : bool
        Whether the file ends within the broken line, as the log of a killed run may.
    """

    def __init__(self, message: str, steps: Sequence[Any] = (), is_cut: bool = False):
        super().__init__(message)
        self.steps, self.is_cut = tuple(steps), is_cut


class WeightsError(NstError):
    """Network parameters that are missing, broken, or not those of VGG-19."""


class DownloadError(NstError):
    """A file that cannot be downloaded, or whose content is not the expected one."""


class EngineError(NstError):
    """MXNet cannot be loaded, the device is missing, or the run does not fit into memory."""


class ShortageError(EngineError):
    """A transfer that does not fit into memory.

    Parameters
    ----------
    shortage : str
        What is missing, without a full stop.
    advice : str
        What would work.
    """

    def __init__(self, shortage: str, advice: str):
        super().__init__(f"{shortage}; {advice}.")
        self.shortage = shortage


class ShapeError(NstError):
    """Arrays whose shapes do not match."""


class NonFiniteError(NstError):
    """The loss or a gradient became NaN or infinite.

    Parameters
    ----------
    message : str
        One line: the step and the layer.
    result : object
        The `Result` of the steps before, with the last finite image.

    Attributes
    ----------
    path : str or None
        Where that image was written.
    """

    # Unpickling calls `cls(message)` and then restores `__dict__`, so `result` needs a default.
    def __init__(self, message: str, result: Any = None):
        super().__init__(message)
        self.result = result
        self.path: Optional[str] = None


def reason(error: BaseException) -> str:
    """Return an exception's message as one line, without a final full stop."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".")


def shown(text: object) -> str:
    """Return a text for one line of output: control characters and line ends are escaped.

    An undecodable byte of a file name becomes an escape such as ``\\xe9``.
    """
    return "".join(_escaped(c) if _needs_escape(c) else c for c in str(text))


def _needs_escape(character: str) -> bool:
    return character in _DIRECTIONS or unicodedata.category(character) in _ESCAPED_CATEGORIES


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
