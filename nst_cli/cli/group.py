"""The group of commands that turns errors into lines."""

import click

from ..errors import ConfigError, NstError


class Group(click.Group):
    """Commands whose errors are one line and whose interruption exits as a shell expects."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            if error.field is None:
                raise click.UsageError(str(error)) from error
            hint = f"--{error.field.replace('_', '-')}"
            raise click.BadParameter(str(error), param_hint=hint) from error
        except NstError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)
