"""Which of its benchmarks a command line of ``benchmark.py`` asks for; nothing heavy is imported to tell."""

from utils.configs.benchmark import BenchmarkConfig
from utils.errors import ConfigError
from utils.formats import FORMATS, SYSTEMS, named

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
            "hard_fail",
            "workers",
        ),
        *PLACE,
    ),
}
PYTORCH = "pytorch"


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

    ``all`` means those that this machine can write and run. Raises: ConfigError where it can none of those named.
    """
    names = [form.name for form in FORMATS if not _refusal(form.name, [])] if "all" in cfg.formats else cfg.formats
    others = list(dict.fromkeys(name for name in names if name != PYTORCH))
    refused = {name: _refusal(name, ["half"] if cfg.half else []) for name in others}
    if refused and all(refused.values()):
        each = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise ConfigError(
            f"nothing to measure: {each}",
            "name others in --formats, or none for all that can be; docs/export.md tells what each needs",
        )
    return {PYTORCH: "", **refused}


def _refusal(name: str, options: list[str]) -> str:
    """Return why a format is not written with the ``options``, or not run, on this machine."""
    form = named(name)
    refusal = form.refusal(options)
    if refusal is None:
        return "" if form.runs_here else f"runs on {SYSTEMS[form.system]} only, so that nothing can be measured here"
    what, fix = refusal
    why = what.removeprefix(f"--include {name}: ")
    return f"{why} ({fix})" if form.missing() else why
