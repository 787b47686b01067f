"""The errors a user can be told about; everything else is a bug and keeps its traceback."""

import unicodedata

# Controls, the two separators of lines, and what stands for a byte that is no text; and what
# turns the direction of writing, by which a name can pose as another.
_UNSHOWN = {"Cc", "Zl", "Zp", "Cs"}
_TURNS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


class NstError(Exception):
    """Something the user can mend; the message is one line that says what and how."""


class ConfigError(NstError):
    """A choice that cannot be taken: a name, a number or a combination of options.

    Parameters
    ----------
    message : str
        One line: what was found and what would have worked.
    field : str, optional
        The `Config` field it concerns, as spelled there (``layer_weights``).
    """

    def __init__(self, message, field=None):
        super().__init__(message)
        self.field = field


class ImageError(NstError):
    """A picture that cannot be read, is not fit to work on, or cannot be written."""


class OutputError(NstError):
    """A file that cannot be written, or that would overwrite another."""


class IncompleteError(OutputError):
    """A picture was made, but not every file could be written where it should be.

    Parameters
    ----------
    message : str
        One line that names the file that failed, and where the picture is.
    outcome : object
        The `Outcome` of the run.
    """

    def __init__(self, message, outcome=None):
        super().__init__(message)
        self.outcome = outcome


class SidecarError(NstError):
    """A description of how a picture was made that is missing, broken or not by nst."""


class BatchError(NstError):
    """A batch file that cannot be used, or workers that cannot be reached."""


class ReportError(NstError):
    """A folder or a sidecar that no report can be made of."""


class LogError(NstError):
    """A log of steps that cannot be read.

    Parameters
    ----------
    message : str
        One line that names the file, and the line in it.
    steps : sequence of log.Step, optional
        Those before the line that is broken.
    is_cut : bool
        Whether the file ends within that line, as that of a killed run does.
    """

    def __init__(self, message, steps=(), is_cut=False):
        super().__init__(message)
        self.steps, self.is_cut = tuple(steps), is_cut


class WeightsError(NstError):
    """Network parameters that are missing, broken or of another network."""


class DownloadError(NstError):
    """A file that cannot be downloaded, or that is not the one expected."""


class EngineError(NstError):
    """MXNet cannot be loaded here, or the device asked for is not there."""


class ShapeError(NstError):
    """Arrays that do not belong together."""


class NonFiniteError(NstError):
    """The optimisation left the finite numbers.

    Parameters
    ----------
    message : str
        One line that names the step and the layer.
    result : object
        The `Result` of the steps before it, with the last good image.

    Attributes
    ----------
    path : str or None
        Where that image was written.
    """

    # Unpickling calls it with the message alone and then restores the attributes.
    def __init__(self, message, result=None):
        super().__init__(message)
        self.result, self.path = result, None


def reason(error):
    """Return what an exception says, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".")


def shown(text: str) -> str:
    """Return a text with its control characters and line ends escaped, for a message of one line.

    A byte of a file's name that is no text comes out as ``\\xe9``.
    """
    return "".join(_escaped(c) if _is_unshown(c) else c for c in str(text))


def _is_unshown(character):
    return character in _TURNS or unicodedata.category(character) in _UNSHOWN


def _escaped(character):
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
