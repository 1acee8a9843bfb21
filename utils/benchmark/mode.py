"""Which of its benchmarks a command line of ``benchmark.py`` asks for; nothing heavy is imported to tell."""

from utils.configs.benchmark import BenchmarkConfig
from utils.errors import ConfigError
from utils.formats import FORMATS, SYSTEMS, Format, named

BACKBONES, REPARAM, FORMATS_OF = "backbones", "reparam", "formats"
PLACE = ("device", "project", "name")
USES = {  # benchmark → the options that mean something for it
    BACKBONES: (
        *("backbones", "heads", "backbone_weights", "cfg", "data", "hyp", "epochs", "batch_size", "imgsz"),
        *("workers", "seed", *PLACE),
    ),
    REPARAM: ("reparam", "batches", "cfg", "imgsz", "seed", *PLACE),
    FORMATS_OF: (
        *(
            "formats",
            "weights",
            "backbone",
            "data",
            "imgsz",
            "batch_size",
            "single_cls",
            "half",
            "int8",
            "hard_fail",
            "workers",
        ),
        *PLACE,
    ),
}
PYTORCH = "pytorch"
INT8 = " int8"  # behind the name of a format: its row in integers


def mode_of(cfg: BenchmarkConfig) -> str:
    """Return a key of ``USES``. Raises: ConfigError for options of two benchmarks."""
    asked = [mode for mode in (REPARAM, FORMATS_OF) if getattr(cfg, mode)]
    if len(asked) == 2:
        raise ConfigError("--reparam and --formats are two benchmarks", "give one of them")
    mode = asked[0] if asked else BACKBONES
    for name in sorted(cfg.given - set(USES[mode])):
        flag = f"--{name.replace('_', '-')}"
        if asked:
            raise ConfigError(f"{flag} means nothing with --{mode}", f"leave {flag} out")
        owner = next(other for other, names in USES.items() if name in names)
        more = ", or write --backbones" if name == "backbone" else ""
        raise ConfigError(f"{flag} means nothing without --{owner}", f"add --{owner}, or leave {flag} out{more}")
    return mode


def wanted_formats(cfg: BenchmarkConfig) -> dict[str, str]:
    """Return the formats to measure, PyTorch first, each with why it cannot be written, empty where it can.

    ``all`` means those that this machine can write and run; behind each that can be in integers, with ``INT8`` in its
    name, comes that. Raises: ConfigError where the machine can none of those named, or none can be in integers.
    """
    names = [form.name for form in FORMATS if not _refusal(form.name, [])] if "all" in cfg.formats else cfg.formats
    others = list(dict.fromkeys(name for name in names if name != PYTORCH))
    refused = {}
    for name in others:
        refused[name] = _refusal(name, ["half"] if cfg.half else [])
        if cfg.int8 and "int8" in named(name).options:
            refused[name + INT8] = _refusal(name, ["int8"])
    if cfg.int8 and not any(map(is_int8, refused)):
        able = " or ".join(form.name for form in FORMATS if "int8" in form.options)
        what = f"--int8: nothing of {', '.join(cfg.formats)} can be in integers"
        raise ConfigError(what, f"add {able} to --formats, or leave --int8 out")
    if refused and all(refused.values()):
        each = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise ConfigError(
            f"nothing to measure: {each}",
            "name others in --formats, or none for all that can be; docs/export.md tells what each needs",
        )
    return {PYTORCH: "", **refused}


def is_int8(name: str) -> bool:
    """Return whether a row is of a file in integers."""
    return name.endswith(INT8)


def format_of_row(name: str) -> Format:
    """Return the format of a row that is not PyTorch's."""
    return named(name.removesuffix(INT8))


def packages_of(name: str) -> list[str]:
    """Return the packages that a row which is not PyTorch's needs."""
    form = format_of_row(name)
    return [
        *form.packages,
        *(package for option, package in form.option_packages if is_int8(name) and option == "int8"),
    ]


def _refusal(name: str, options: list[str]) -> str:
    """Return why a format is not written with the ``options``, or not run, on this machine."""
    form = named(name)
    refusal = form.refusal(options)
    if refusal is None:
        return "" if form.runs_here else f"runs on {SYSTEMS[form.system]} only, so that nothing can be measured here"
    what, fix = refusal
    why = what.removeprefix(f"--include {name}: ")
    return f"{why} ({fix})" if fix.startswith("pip ") else why
