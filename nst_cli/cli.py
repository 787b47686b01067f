"""The command line: options to a `Config`, one call, its result echoed."""

import contextlib
import json
import os
import signal
import sys
import time

import click
from tqdm import tqdm

from . import __version__, config
from .errors import ConfigError, NonFiniteError, NstError, OutputError

# Below this a forecast is no help to anybody, in seconds.
_LONG_RUN = 60


class _Group(click.Group):
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


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nst")
def main():
    """Style transfer by matching feature distributions.

    \b
    Example:
      nst weights fetch
      nst stylize photo.jpg painting.jpg -o picture.png
    """


def _option(name, metavar, text, choices=None):
    """Return the Click option of the `Config` field of that name."""
    kind = click.Choice(choices) if choices else str
    return click.option(
        f"--{name.replace('_', '-')}", name, type=kind, metavar=None if choices else metavar,
        help=text + _defaults(name),
    )  # fmt: skip


def _defaults(name):
    """Return a field's default in words, and those of the presets that have another."""
    values = {preset: fields[name] for preset, fields in config.PRESETS.items()}
    values = {p: ",".join(v) if isinstance(v, tuple) else v for p, v in values.items()}
    usual = values.pop("paper")
    if usual == "":
        return ""
    others = "".join(f"; {preset}: {v}" for preset, v in values.items() if v != usual)
    return f"  [default: {usual}{others}]"


_CONFIG_OPTIONS = (
    click.option(
        "--preset", metavar="NAME", default="paper", show_default=True,
        help="Set of defaults: " + ", ".join(config.PRESETS) + ".",
    ),
    _option("method", "NAME|FUSION", "Style loss, " + ", ".join(config.METHODS)
            + ", or a fusion such as bn=0.3,poly=0.7."),
    _option("alpha", "X", "Weight of the content loss."),
    _option("beta", "paper|auto|X", "Factor that balances style and content at gamma 1: the "
            "authors' for each method, measured on the start image, or given."),
    _option("gamma", "X", "Balance: more style, less content."),
    _option("c", "X", "Constant of the polynomial kernel (x.y + c)^2."),
    _option("layer_weights", "LAYER=X,...", "Weights of style layers; 1 where not given."),
    _option("style_layers", "LAYER,...", "Layers of the style loss."),
    _option("content_layers", "LAYER,...", "Layers of the content loss."),
    _option("pooling", "", "Pooling of the network.", config.POOLINGS),
    _option("size", "PIXELS", "Long edge of the picture made."),
    _option("style_fit", "", "Bring the style image to the content's size, or keep its aspect "
            "and make its long edge --size.", config.STYLE_FITS),
    _option("iterations", "N", "Steps at most; a third of it at each smaller scale."),
    _option("stop_eps", "X", "Stop where the image changes by a smaller part; 0: never."),
    _option("optimizer", "NAME", "Optimiser: " + ", ".join(config.OPTIMIZERS) + "."),
    _option("lr", "auto|X", "Learning rate of sgd; levels of grey that adam moves a value in a "
            "step, or lbfgs at its first trial."),
    _option("scales", "N|auto", "Sizes to optimise at, each twice the one before."),
    _option("precision", "", "Of the convolutions; auto: bfloat16 where the processor has it.",
            config.PRECISIONS),
    _option("tv_weight", "X", "Weight of the smoothing during the optimisation."),
    _option("denoise", "X", "Weight of the final total variation denoising; 0: off."),
    _option("init", "random|content|FILE", "Start image."),
    _option("seed", "N", "Drives everything random."),
    _option("device", "auto|cpu|gpu|gpu:N", "Where to compute."),
    _option("weights", "FILE|builtin", "VGG-19 parameters; by default NST_WEIGHTS, then models/ "
            "here, then the user's cache."),
)  # fmt: skip


def _config_options(command):
    for option in reversed(_CONFIG_OPTIONS):
        command = option(command)
    return command


@main.command()
@click.argument("content")
@click.argument("style")
@click.option("-o", "--output", metavar="OUT", required=True,
              help="Picture to make; .png, .jpg, .tif or .webp.")  # fmt: skip
@_config_options
@click.option("--save-every", type=click.IntRange(min=1), metavar="N",
              help="Also write OUT-00N.png and so on, after every N steps.")  # fmt: skip
@click.option("--log", metavar="FILE.jsonl", help="Write the losses of each step, one per line.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def stylize(content, style, output, save_every, log, quiet, **choices):
    """Give the picture CONTENT the style of the picture STYLE.

    Prints the path of the picture made. Beside it OUT.png.json holds everything that made it, and
    so does the picture itself. Ctrl-C saves the image so far.

    \b
    Example:
      nst stylize photo.jpg painting.jpg -o picture.png --method bn=0.3,poly=0.7 --gamma 2
    """
    from . import runner

    settings = config.Config(**choices)
    save_every = save_every or 0
    job = runner.prepare(content, style, output, settings, save_every=save_every, log=log)
    # Whoever gets the built-in filters or loses transparency is told so even when quiet.
    for note in job.notes:
        click.echo(f"Note: {note}", err=True)
    with contextlib.ExitStack() as stack:
        observers = [stack.enter_context(_interrupts())]
        logged = stack.enter_context(_Log(log)) if log else None
        if logged:
            observers.append(logged.write)
        if not quiet:
            observers.append(stack.enter_context(_progress(settings)))
        try:
            outcome = runner.run(
                job,
                on_step=lambda record: [observe(record) for observe in observers],
                save_every=save_every,
            )
        except NonFiniteError as error:
            made = error.result.steps
            kept = f" The last good image is in {output}." if made else " No picture was written."
            raise NstError(f"{error}{kept}") from error
        except KeyboardInterrupt:
            outcome = None
    if not outcome:
        click.echo("Interrupted before the first step: no picture was written.", err=True)
        sys.exit(130)
    # As bytes, because a file may have a name that is no text.
    click.echo(os.fsencode(outcome.path))
    if outcome.result.stop_reason == "interrupted":
        click.echo(f"Interrupted after step {outcome.result.steps}; saved {output}.", err=True)
        sys.exit(130)
    if logged and logged.error:
        raise OutputError(f"The log {log} is not complete: {logged.error.strerror}.")


@contextlib.contextmanager
def _interrupts():
    """Yield an observer of steps that raises an interruption which got lost.

    Python drops an exception that is raised while an array is being freed, and arrays are freed
    all the time.
    """
    usual, pressed = signal.getsignal(signal.SIGINT), []

    def interrupt(*_):
        pressed.append(True)
        raise KeyboardInterrupt

    def observe(record):
        if pressed:
            raise KeyboardInterrupt

    # Whoever has SIGINT ignored, as a shell does for what runs in the background, keeps it so.
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield observe
    finally:
        signal.signal(signal.SIGINT, usual)


class _Log:
    """A file of steps, each a line of JSON; one that breaks off does not take the run with it."""

    def __init__(self, path):
        self.error = None
        try:
            self._stream = open(path, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"Cannot write the log {path}: {error.strerror}.") from error

    def write(self, record):
        line = {
            "step": record.step,
            "scale": record.scale,
            "relative_change": record.relative_change,
            "gradient_norm": record.gradient_norm,
            "losses": record.losses,
        }
        if not self.error:
            with self._keeping_error():
                self._stream.write(json.dumps(line) + "\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._keeping_error():
            self._stream.close()

    @contextlib.contextmanager
    def _keeping_error(self):
        try:
            yield
        except OSError as error:
            self.error = self.error or error


@contextlib.contextmanager
def _progress(settings):
    """Yield an observer of steps that draws a bar on stderr."""
    # A file or a pipe gets a line now and then, a terminal a bar that moves.
    interval = 0.2 if sys.stderr.isatty() else 10
    moments, scale = [], None
    with tqdm(total=settings.iterations, unit="step", mininterval=interval) as bar:

        def observe(record):
            nonlocal moments, scale
            if record.scale != scale:
                scale, moments = record.scale, []
                bar.total = record.step - 1 + sum(_steps_left(settings, record))
            moments.append(time.monotonic())
            if len(moments) == 3:
                # The first step pays for what is allocated once.
                _forecast(bar, settings, record, (moments[2] - moments[0]) / 2)
            which = f"scale {scale}/{record.scales}, " if record.scales > 1 else ""
            bar.set_postfix_str(
                f"{which}loss {record.losses['total']:.3e}, change {record.relative_change:.2%}",
                refresh=False,
            )
            bar.update()

        yield observe


def _steps_left(settings, record):
    """Return the steps at most at a record's scale and at those to come."""
    from .optimise import steps_at

    scales = range(record.scale, record.scales + 1)
    return [steps_at(settings.iterations, scale, record.scales) for scale in scales]


def _forecast(bar, settings, record, step_seconds):
    """Say once, before it takes long, how long a run will take; steps cost as their pixels."""
    # Each scale has four times the pixels of the one before.
    steps = sum(4**n * steps for n, steps in enumerate(_steps_left(settings, record)))
    seconds = step_seconds * steps
    if record.scale > 1 or seconds < _LONG_RUN:
        return
    size = " at the full size" if record.scales > 1 else ""
    rule = "; the stop rule may end it sooner" if settings.stop_eps else ""
    last = step_seconds * 4 ** (record.scales - 1)
    bar.write(
        f"At most {_duration(seconds)}: {settings.iterations} steps of {last:.2g} s{size}{rule}. "
        "Ctrl-C saves the image so far.",
        file=sys.stderr,
    )


def _duration(seconds):
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


@main.group(cls=_Group)
def weights():
    """Get, check and find the parameters of VGG-19."""


@weights.command()
@click.argument("destination", required=False)
@click.option("--url", help="Another address of the same file.")
def fetch(destination, url):
    """Download the authors' VGG-19 (80 MB) to DESTINATION or the user's cache, and check it.

    A download that broke off goes on where it stopped.

    \b
    Example:
      nst weights fetch models/
    """
    from . import weights as room

    # A download that fails at once shows no bar.
    with tqdm(unit="B", unit_scale=True, unit_divisor=1024, delay=0.2) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        path = room.fetch(destination, progress=progress, **({"url": url} if url else {}))
    click.echo(path)


@weights.command()
@click.argument("file")
def check(file):
    """Read FILE to the end and say whether it holds VGG-19, and which.

    \b
    Example:
      nst weights check models/vgg19.params
    """
    from . import weights as room

    report = room.check(file)
    kind = "the published file" if report.published else "not the published file, but usable"
    click.echo(f"{report.path}: VGG-19 from {report.layers[0]} to {report.layers[-1]}; {kind}")
    click.echo(f"git blob id {report.blob_id}\nsha256 {report.sha256}\n{report.size} bytes")


@weights.command()
def path():
    """Print the path of the weights that a run would use.

    \b
    Example:
      nst weights path
    """
    from . import weights as room

    click.echo(room.find())


@main.command(short_help="Say what this machine has, and test it.")
def doctor():
    """Say what this machine has: versions, processor, devices, weights, and a test run.

    \b
    Example:
      nst doctor
    """
    from . import doctor as room

    healthy = True
    for topic, finding, good in room.examine():
        healthy = healthy and good
        click.echo(f"{'ok ' if good else 'BAD'}  {topic:<10} {finding}")
    if not healthy:
        sys.exit(1)
