"""How the finished picture is stored: from the options, and from the content's own profile."""

from typing import Optional

from .. import images
from ..config import Config
from ..errors import ImageError
from ..files import StrPath


def check(output: StrPath, config: Config) -> None:
    """Check, before the long work, that an output's format has what the options ask for.

    Raises
    ------
    ConfigError
        It does not.
    ImageError
        The ending is unknown.
    """
    images.check_encoding(output, _encoding(config))


def encoding_of(config: Config, content: images.Picture) -> images.Encoding:
    """Return how to store the picture made from a content.

    Raises
    ------
    ImageError
        The content's profile is to be kept, and the picture cannot be converted to it.
    """
    if config.profile != "keep" or content.profile is None:
        return _encoding(config)
    obstacle = images.obstacle_to(content.profile, config.bits)
    if obstacle:
        raise ImageError(
            f"Cannot keep the colour profile of {content.path}: {obstacle}; use --profile srgb."
        )
    return _encoding(config, content.profile)


def _encoding(config: Config, profile: Optional[bytes] = None) -> images.Encoding:
    return images.Encoding(config.bits, config.quality, config.chroma, profile)
