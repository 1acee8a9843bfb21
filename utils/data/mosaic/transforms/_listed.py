"""The list ``transforms`` of a hyper-parameter file: what happens to a finished picture, in this order.

An entry is ``NAME: {PARAMETER: value, …}``, or ``NAME: 0.5`` for its probability ``p``. Names are ours, or classes of
Albumentations behind ``albumentations.``; they are looked up, never evaluated. The list takes the place of the keys
``REPLACED``.
"""

from collections.abc import Mapping
from typing import Any

from utils.data.mosaic.transforms._albumentations import PREFIX, build_albumentation
from utils.data.mosaic.transforms._contract import LISTED, Step, transform_keys
from utils.errors import ConfigError
from utils.hyper import checked
from utils.pixels import RGB, PixelFormat
from utils.registry import suggest

LIST = "transforms"
REPLACED = ("flipud", "fliplr", *transform_keys())
FORM = "write '- NAME: {PARAMETER: value}', or '- NAME: p'"


def build_listed(
    entries: Any, source: str, pixels: PixelFormat = RGB, shape: tuple[int, int] | None = None
) -> list[Step]:
    """Return the transforms of a list; ``source`` is the file, for errors.

    With the ``shape`` (h, w) of a picture, each of Albumentations is tried on one.
    Raises: ConfigError naming the entry that is unknown, has a wrong parameter, or is not for such ``pixels``.
    """
    if not isinstance(entries, list | tuple):
        raise ConfigError(f"{source}: {LIST}: {entries!r} is not a list", FORM)
    steps = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise ConfigError(f"{source}: {LIST}: entry {number} is not one name with its parameters", FORM)
        [(name, given)] = entry.items()
        parameters = given if isinstance(given, Mapping) else {"p": given}
        where = f"{source}: {LIST}: {name}"
        if str(name).startswith(PREFIX):
            steps.append(build_albumentation(str(name), parameters, where, pixels, shape))
        else:
            steps.append(_build_own(str(name), parameters, where, pixels))
    return steps


def _build_own(name: str, parameters: Mapping[str, Any], where: str, pixels: PixelFormat) -> Step:
    if name not in LISTED:
        hint = suggest(name, LISTED) or f"known: {', '.join(sorted(LISTED))}, and {PREFIX}NAME"
        raise ConfigError(f"{where}: unknown transform", hint)
    entry = LISTED.get(name)
    for key in parameters:
        if key not in entry.parameters:
            raise ConfigError(f"{where}: unknown parameter {key!r}", f"known: {', '.join(entry.parameters)}")
    if entry.rgb_only and pixels != RGB:
        raise ConfigError(f"{where}: is for RGB of 8 bits only, not for {pixels}", "remove it")
    return entry.build(**{key: checked(where, key, value, entry.parameters[key]) for key, value in parameters.items()})
