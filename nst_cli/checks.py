"""Checks of single values that a user chooses; each returns the value in its final form.

A check takes the name of the field and the value given for it, and raises `ConfigError`.
"""

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Optional, Union

from .errors import ConfigError
from .methods import ALSO_KNOWN_AS

#: Takes a field's name and a value; returns the value in its final form.
Check = Callable[[str, Any], Any]

#: The end of a weight that is multiplied by the number of pixels.
PER_PIXEL = "/pixel"

# Characters of a value in a message.
_LONGEST_SHOWN = 40

# Numbers in a list.
_MOST_NUMBERS = 32

# The least and the most of a weight or factor besides 0. MXNet computes in float32 and refuses
# operands below 1e-308, and several of these numbers are multiplied.
_LEAST, _MOST = 1e-30, 1e30


def parse_weights(text: str, field: Optional[str] = None) -> dict[str, float]:
    """Read ``"name=weight,name=weight"``; an empty text gives an empty dict.

    Raises
    ------
    ConfigError
        An entry has another form, or a name occurs twice. The error names `field`.
    """
    weights: dict[str, float] = {}
    shown = short(text)
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in entry.partition("="))
        if not equals or name in weights:
            problem = "repeats a name" if equals else "is not of the form name=weight"
            raise ConfigError(
                f"{shown}: {short(entry)} {problem}; an example is 'bn=0.3,poly=0.7'.",
                field,
            )
        weights[name] = number(field, value, what=f"{name[:_LONGEST_SHOWN]} in {shown}")
    return weights


def did_you_mean(word: object, names: Iterable[str]) -> str:
    """Return the end of a message about an unknown `word`: the closest name, or all names."""
    names = list(names)
    known = ALSO_KNOWN_AS.get(str(word).lower())
    if known in names:
        return f": did you mean {known!r}?"
    lowered = [name.lower() for name in names]
    # Comparing a long text takes long, and no name resembles it.
    close = difflib.get_close_matches(str(word)[:_LONGEST_SHOWN].lower(), lowered, 1)
    if close:
        return f": did you mean {names[lowered.index(close[0])]!r}?"
    return f": choose from {', '.join(names)}."


def number(
    field: Optional[str],
    value: Any,
    low: float = 0.0,
    positive: bool = False,
    what: Optional[str] = None,
) -> float:
    """Return `value` as a float of at least `low`; messages call it `what` or `field`.

    If `low` is 0, as for weights, it is 0 or from 1e-30 to 1e30.
    """
    what = what or field
    try:
        # float() also takes True, and digits of other scripts.
        if isinstance(value, bool) or (isinstance(value, str) and not value.isascii()):
            raise ValueError
        result = float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{what} is {short(value)}, which is not a number.", field) from None
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise ConfigError(f"{what} is {short(value)}; it must be a finite number.", field)
    bound = ""
    if result < low or (positive and result == 0):
        bound = "above 0" if positive else f"at least {low:g}"
    elif low == 0 and 0 < result < _LEAST:
        bound = f"{'' if positive else '0 or '}at least {_LEAST:g}"
    elif low == 0 and result > _MOST:
        bound = f"at most {_MOST:g}"
    if bound:
        raise ConfigError(f"{what} is {result:g}; it must be {bound}.", field)
    return result


def short(value: object, longest: int = _LONGEST_SHOWN) -> str:
    """Return a value as Python spells it, cut to the length that fits a message."""
    try:
        # A long text is cut before each of its characters is looked at.
        text = repr(value[: longest + 1] if isinstance(value, str) else value)
    except ValueError:
        # Python does not print integers of thousands of digits.
        return f"of type {type(value).__name__}, with too many digits"
    except RecursionError:
        return f"of type {type(value).__name__}, nested too deeply"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def positive(field: str, value: Any) -> float:
    """Return `value` as a finite float above 0."""
    return number(field, value, positive=True)


def number_or_per_pixel(field: str, value: Any) -> Union[str, float]:
    """Return a number from 0 on as a float, or ``"X/pixel"`` as a text."""
    if not isinstance(value, str) or "/" not in value:
        return number(field, value)
    amount, _, unit = (part.strip() for part in value.partition("/"))
    if f"/{unit}" != PER_PIXEL:
        raise ConfigError(
            f"{field} is {short(value)}; it must be a number, or a number followed by "
            f"{PER_PIXEL}, as in '0.01{PER_PIXEL}'.",
            field,
        )
    return f"{number(field, amount, what=f'{field} {short(value)}')!r}{PER_PIXEL}"


def share(field: str, value: Any) -> float:
    """Return `value` as a float from 0 to 1."""
    result = number(field, value)
    if result > 1:
        raise ConfigError(f"{field} is {result:g}; it must be at most 1.", field)
    return result


def positive_to(high: float) -> Check:
    """Return a check of numbers above 0, up to `high`."""

    def check(field: str, value: Any) -> float:
        result = number(field, value, positive=True)
        if result > high:
            raise ConfigError(f"{field} is {result:g}; it must be at most {high:g}.", field)
        return result

    return check


def or_auto(check: Check) -> Check:
    """Return a check that also accepts ``auto``."""
    return or_word("auto", check)


def or_word(word: str, check: Check) -> Check:
    """Return a check that also accepts a word."""

    def check_or_word(field: str, value: Any) -> Any:
        if value == word:
            return value
        try:
            return check(field, value)
        except ConfigError as error:
            raise ConfigError(f"{str(error).removesuffix('.')} or {word}.", field) from None

    return check_or_word


def optional(check: Check) -> Check:
    """Return a check that also accepts None, for an option that is not given."""
    return lambda field, value: None if value is None else check(field, value)


def integer(low: int, high: int) -> Check:
    """Return a check of whole numbers from `low` to `high`."""

    def check(field: str, value: Any) -> Any:
        result = number(field, value, -math.inf)
        # Exact: the bounds are far below 2 ** 53.
        if result != int(result) or not low <= result <= high:
            raise ConfigError(
                f"{field} is {short(value)}; it must be a whole number from {low} to {high}.",
                field,
            )
        return int(result)

    return check


def either(*numbers: int) -> Check:
    """Return a check for one of some whole numbers."""

    def check(field: str, value: Any) -> int:
        result = number(field, value)
        if result not in numbers:
            words = " or ".join(map(str, numbers))
            raise ConfigError(f"{field} is {short(value)}; it must be {words}.", field)
        return int(result)

    return check


def choice(field: str, value: Any, names: Collection[str]) -> str:
    """Return `value` if it is one of `names`."""
    if not isinstance(value, str) or value not in names:
        raise ConfigError(f"Unknown {field} {short(value)}{did_you_mean(value, names)}", field)
    return value


def one_of(names: Collection[str]) -> Check:
    """Return a check for one of some names."""
    return lambda field, value: choice(field, value, names)


def weight_list(names: Collection[str], kind: str) -> Check:
    """Return a check that turns a text or a mapping into the text ``"name=weight,…"``."""

    def check(field: str, value: Any) -> Any:
        if isinstance(value, str):
            weights = parse_weights(value, field)
        elif isinstance(value, Mapping):
            weights = {
                str(name): number(field, weight, what=f"{str(name)[:_LONGEST_SHOWN]} in {field}")
                for name, weight in value.items()
            }
        else:
            raise ConfigError(
                f"{field} is {short(value)}; it must be of the form name=weight,name=weight.",
                field,
            )
        for name in weights:
            if name not in names:
                raise ConfigError(
                    f"Unknown {kind} {short(name)}{did_you_mean(name, names)}", field
                )
        return ",".join(f"{name}={weight!r}" for name, weight in weights.items())

    return check


def fusion(names: Collection[str]) -> Check:
    """Return a check of one name, or of a fusion: ``"name=weight,…"`` or a mapping."""
    check_weights = weight_list(names, "method")

    def check(field: str, value: Any) -> Any:
        if isinstance(value, str) and "=" not in value:
            return choice(field, value.strip(), names)
        text = check_weights(field, value)
        weights = parse_weights(text)
        if not any(weights.values()):
            raise ConfigError(f"Every weight of the fusion {text!r} is 0.", field)
        if len(weights) == 1 and 1.0 in weights.values():
            return next(iter(weights))
        return text

    return check


def balance(names: Collection[str]) -> Check:
    """Return a check of β′: ``paper``, ``auto``, a number, or one number per method."""
    check_weights = weight_list(names, "method")

    def check(field: str, value: Any) -> Any:
        if value in ("paper", "auto"):
            return value
        if isinstance(value, Mapping) or (isinstance(value, str) and "=" in value):
            return check_weights(field, value)
        try:
            return number(field, value)
        except ConfigError:
            if isinstance(value, (int, float)):
                raise
            message = f"{field} is {short(value)}; it must be paper, auto or a number from 0 on."
            raise ConfigError(message, field) from None

    return check


def layer_list(names: Collection[str]) -> Check:
    """Return a check of layers, given as a list or as a text with commas."""

    def check(field: str, value: Any) -> Any:
        if not isinstance(value, (str, list, tuple)):
            raise ConfigError(f"{field} is {short(value)}; it must be a list of layers.", field)
        parts = value.split(",") if isinstance(value, str) else value
        layers = [part.strip() if isinstance(part, str) else part for part in parts]
        for layer in layers:
            if layer not in names:
                raise ConfigError(
                    f"Unknown layer {short(layer)}{did_you_mean(layer, names)}", field
                )
        if not layers or len(set(layers)) < len(layers):
            raise ConfigError(f"{field} needs one or more layers, each once.", field)
        return tuple(layers)

    return check


def number_list(field: str, value: Any) -> tuple[float, ...]:
    """Return numbers above 0, given as a list, as a text with commas, or as one number."""
    if isinstance(value, str):
        value = value.split(",")
    elif not isinstance(value, (list, tuple)):
        value = [value]
    numbers = tuple(number(field, part, positive=True) for part in value)
    if not 0 < len(numbers) <= _MOST_NUMBERS:
        raise ConfigError(
            f"{field} has {len(numbers)} numbers; it must have 1 to {_MOST_NUMBERS}.", field
        )
    return numbers


def device(field: str, value: Any) -> str:
    """Return `value` if it names a device."""
    if isinstance(value, str) and re.fullmatch(r"auto|cpu|gpu(:[0-9]{1,3})?", value):
        return value
    raise ConfigError(f"device is {short(value)}; it must be auto, cpu, gpu or gpu:N.", field)


def flag(field: str, value: Any) -> bool:
    """Return `value` if it is a bool."""
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{field} is {short(value)}; it must be true or false.", field)


def text(field: str, value: Any) -> str:
    """Return `value` as a string; every value passes."""
    return str(value)
