"""Which models timm and torchvision have, read from their files: importing either takes seconds."""

import functools
import importlib.util
import re
from pathlib import Path

REGISTERED = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


def registered_names(library: str) -> list[str]:
    """Return the models that ``library`` registers, in the order of the alphabet."""
    return sorted(set(REGISTERED.findall(_source(library))))


def can_have(library: str, name: str) -> bool:
    """False where ``library`` has no model ``name`` for certain: its files neither define nor quote the word."""
    return any(form in _source(library) for form in (f"def {name}(", f"'{name}'", f'"{name}"'))


@functools.cache
def _source(library: str) -> str:
    """Return the text of the library's models; the library is found and not imported."""
    (folder,) = importlib.util.find_spec(library).submodule_search_locations
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(folder, "models").glob("*.py")))
