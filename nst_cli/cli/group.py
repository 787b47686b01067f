"""Groups of commands that print errors as one line and turn signals into exit codes."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, Optional

import click

from .. import machine
from ..errors import ConfigError, NstError, shown
from . import streams
from .progress import interrupts

# How the dynamic linker says so.
_NO_ROOM = "failed to map segment"


class Group(click.Group):
    """A group of commands that prints an error as one line."""

    def make_context(
        self,
        info_name: Optional[str],
        args: list[str],
        parent: Optional[click.Context] = None,
        **extra: Any,
    ) -> click.Context:
        with _one_line():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _one_line():
                return super().invoke(ctx)
        except ConfigError as error:
            message = shown(error)
            if error.field is None:
                raise click.UsageError(message) from error
            hint = f"--{error.field.replace('_', '-')}"
            raise click.BadParameter(message, param_hint=hint) from error
        except NstError as error:
            raise click.ClickException(shown(error)) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)
        except (MemoryError, ImportError, OSError) as error:
            if not _is_for_memory(error):
                raise
            raise click.ClickException(_out_of_memory()) from error


class Program(Group):
    """The whole program: it survives failing standard streams and ends cleanly on signals."""

    def main(self, *args: Any, standalone_mode: bool = True, **options: Any) -> Any:
        if not standalone_mode:
            # A Python program that calls this handles streams and signals itself.
            options["standalone_mode"] = False
            return super().main(*args, **options)
        streams.open_missing()
        with streams.forgiving() as failure:
            code = self._exit_code(*args, **options)
            error = failure()
            sys.exit(streams.exit_code(code, error) if error else code)

    def _exit_code(self, *args: Any, **options: Any) -> Any:
        code: Any = 0
        with interrupts() as received:
            try:
                super().main(*args, **options)
            except SystemExit as ending:
                code = ending.code or 0
            if len(received.signals) > 1 and code:
                _exit_at_once(128 + received.signals[-1])
            # Commands exit with 130 whichever signal interrupted them.
            return 128 + received.signals[0] if received.signals and code else code


def _is_for_memory(error: BaseException) -> bool:
    """Return whether memory ran out, or a library could not be loaded for that reason."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM or _NO_ROOM in str(error)
    return isinstance(error, MemoryError) or _NO_ROOM in str(error)


def _out_of_memory() -> str:
    limits = [
        f"this process may take {limit / 1e9:.1f} GB ({command})"
        for command, limit, _ in machine.process_limits()
    ]
    why = f": {' and '.join(limits)}; raise the limit" if limits else "; free some memory"
    return f"There is not enough memory{why}, or choose a smaller --size."


def _exit_at_once(code: int) -> None:
    """End the process without waiting for what MXNet still computes."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        error.message = shown(error.message)  # type: ignore[misc]  # Click declares it final
        raise
