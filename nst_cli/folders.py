"""The user's folders, by the XDG specification."""

import os
from pathlib import Path
from typing import Optional


def user_folder(variable: str, usual: str) -> Optional[Path]:
    """Return nst's folder in one of the user's, which need not exist; None without a home.

    Parameters
    ----------
    variable : str
        Names the folder: ``XDG_CACHE_HOME`` or ``XDG_DATA_HOME``.
    usual : str
        Where the folder is without it, below the home.
    """
    base = os.environ.get(variable, "")
    # The XDG specification has programs ignore a relative path.
    if not os.path.isabs(base):
        base = os.path.join(_home(), usual)
    return Path(base, "nst") if os.path.isabs(base) else None


def _home():
    # An empty HOME would be the root folder to `expanduser`.
    if os.environ.get("HOME") == "":
        return ""
    return os.path.expanduser("~")
