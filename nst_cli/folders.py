"""The user's folders, according to the XDG specification."""

import os
from pathlib import Path
from typing import Optional


def user_folder(variable: str, default: str) -> Optional[Path]:
    """Return nst's folder for caches or data, which need not exist.

    Parameters
    ----------
    variable : str
        Environment variable that holds the parent folder: ``XDG_CACHE_HOME`` or
        ``XDG_DATA_HOME``.
    default : str
        The parent folder if the variable is not set, relative to the home folder.

    Returns
    -------
    Path or None
        None if the user has no home folder.
    """
    base = os.environ.get(variable, "")
    # The XDG specification says to ignore a relative path.
    if not os.path.isabs(base):
        base = os.path.join(_home(), default)
    return Path(base, "nst") if os.path.isabs(base) else None


def _home() -> str:
    # `expanduser` would turn an empty HOME into the root folder.
    if os.environ.get("HOME") == "":
        return ""
    return os.path.expanduser("~")
