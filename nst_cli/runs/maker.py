"""Makes runs one after another in one process, and reports how each of them ended."""

import contextlib
import functools
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional

from ..config import Config
from ..errors import CheckpointError, NonFiniteError, NstError, OutputError, reason
from ..synthesis import Record
from ..synthesis.kit import NetworkKit
from ..weights import Weights
from . import claims, log, runner
from .checkpoints import Saved
from .keeping import Every, Keeper
from .plan import Run
from .sidecar import log_of

#: Called with the record of each step.
Observer = Callable[[Record], object]


@dataclass(frozen=True)
class Finished:
    """How a run ended.

    Attributes
    ----------
    run : plan.Run
    state : str
        ``done``, ``skipped``, ``failed`` or ``interrupted``.
    seconds : float
    reason : str
        Why the state is not ``done``, in one line; for a bug the traceback.
    """

    run: Run
    state: str
    seconds: float = 0.0
    reason: str = ""


class Maker:
    """Makes one run after another, and keeps the networks and style targets that the next can use.

    The memory is released with the object.

    Parameters
    ----------
    overwrite : bool
        Allow replacing files that nst did not make.
    find_weights : callable, optional
        Finds the weights that a config names; called once for each name.
    checkpoint : str or float
        When to write checkpoints, as for `keeping.Keeper`. A run goes on from the one it left.
    """

    def __init__(
        self,
        overwrite: bool = False,
        find_weights: Callable[[str], Weights] = Weights.find,
        checkpoint: Every = "off",
    ):
        self._overwrite, self._kit, self._checkpoint = overwrite, NetworkKit(), checkpoint
        self._find_weights = functools.cache(find_weights)

    def __call__(self, run: Run, on_step: Optional[Observer] = None) -> Finished:
        """Make the picture of a run.

        Parameters
        ----------
        run : plan.Run
        on_step : callable, optional
            Called with a `synthesis.Record` after each step.
        """
        began = time.monotonic()
        try:
            with claims.claimed([run.output]):
                outcome, note = self._make(run, on_step)
            interrupted = outcome.result.stop_reason == "interrupted"
            state = "interrupted" if interrupted else "done"
            why = _so_far(outcome, note) if interrupted else note
        except KeyboardInterrupt:
            state, why = "interrupted", "no picture was written"
        except NonFiniteError as error:
            state, why = "failed", f"{error}{_kept(error.path)}"
        except NstError as error:
            state, why = "failed", str(error)
        except OSError as error:
            # The disk or a folder is at fault, not a bug.
            state, why = "failed", f"{error.filename or run.output}: {reason(error)}."
        except MemoryError:
            state, why = "failed", "There is not enough memory; choose a smaller --size."
        except Exception:  # noqa: BLE001
            # A bug must neither stop the other runs nor stay hidden.
            state, why = "failed", traceback.format_exc()
        return Finished(run, state, time.monotonic() - began, why)

    def _make(self, run: Run, on_step: Optional[Observer]) -> tuple[runner.Outcome, str]:
        """Make the picture of a run; also return what the user should know, or an empty text."""
        log_path = log_of(run.output)
        job = runner.prepare(
            run.content, run.styles, run.output, run.config, log=log_path,
            overwrite=self._overwrite, weights=self._find_weights(run.config.weights),
        )  # fmt: skip
        with contextlib.closing(Keeper(job, self._checkpoint)) as keeper:
            return self._kept(job, log_path, keeper, on_step)

    def _kept(
        self, job: runner.Job, log_path: str, keeper: Keeper, on_step: Optional[Observer]
    ) -> tuple[runner.Outcome, str]:
        """Make the picture of a job from its checkpoint, if that can be used, or afresh."""
        try:
            saved = keeper.load()
            outcome = self._write(job, log_path, keeper, saved, on_step)
        except CheckpointError:
            # The run replaces it.
            keeper.forget()
            outcome = self._write(job, log_path, keeper, None, on_step)
            return outcome, "its checkpoint was damaged, so it started afresh"
        return outcome, keeper.error

    def _write(
        self,
        job: runner.Job,
        log_path: str,
        keeper: Keeper,
        saved: Optional[Saved],
        on_step: Optional[Observer],
    ) -> runner.Outcome:
        """Make the picture of a job and its log, from a checkpoint or from the start."""
        with log.writing(log_path) as lines:
            if saved:
                lines.restore(saved.log)

            def observe(record: Record) -> None:
                lines.write(record)
                if on_step:
                    on_step(record)

            outcome = runner.run(job, on_step=observe, kit=self._kit, keeper=keeper, saved=saved)
        if lines.error:
            raise OutputError(f"The log {log_path} is not complete: {reason(lines.error)}.")
        return outcome


def _so_far(outcome: runner.Outcome, note: str) -> str:
    further = f"; the same batch goes on from step {outcome.checkpoint}"
    saved = f"the image so far is saved{further if outcome.checkpoint else ''}"
    return f"{saved}; {note}" if note else saved


def network_of(config: Config) -> tuple[object, ...]:
    """Return the choices that runs of one size must share to share a network's executors."""
    return (
        config.weights, config.device, config.precision, config.convolution, config.pooling,
        config.style_layers, config.content_layers, config.scales, config.margin,
    )  # fmt: skip


def _kept(path: Optional[str]) -> str:
    return f" The last good image is in {path}." if path else " No picture was written."
