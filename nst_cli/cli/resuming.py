"""The options of checkpoints, which stylize and batch share."""

import math
from typing import Any, Optional, Union

import click


class _Every(click.ParamType):
    """``auto``, ``off`` or a number of seconds."""

    name = "text"

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> Union[str, float]:
        if isinstance(value, float) or value in ("auto", "off"):
            return value
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            self.fail(f"{value!r} is neither auto nor off nor a number of seconds.", param, ctx)
        return seconds


checkpoint_option = click.option(
    "--checkpoint", type=_Every(), default="auto", show_default=True, metavar="auto|off|SECONDS",
    help="How often to save what a run needs to go on after an interruption; auto: every 30 "
    "seconds in runs of over a minute.",
)  # fmt: skip
