"""Match the classes that annotations, models and people name with those of the data set: the one rule for it."""

from collections.abc import Iterable, Mapping, Sequence

from utils.errors import DataError
from utils.registry import suggest
from utils.text import counted, safe_text, visible

SHOWN = 10  # classes in a line of the log


class ClassMatcher:
    """Finds the class of a name: the same text, else the only one that differs in case, spaces, - and _ alone."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self.names = names
        self._exact = {name: index for index, name in reversed(names.items())}
        self._loose: dict[str, int | None] = {}
        for name, index in self._exact.items():
            self._loose[loose(name)] = None if loose(name) in self._loose else index

    def find(self, name: str) -> int | None:
        found = self._exact.get(name)
        return self._loose.get(loose(name)) if found is None else found


def loose(name: str) -> str:
    """Return what names of one class have in common; a number, as ``-1``, is itself alone."""
    if name.strip().lstrip("-").isdecimal():
        return name.strip()
    return "".join(name.casefold().replace("_", " ").replace("-", " ").split())


def check_all_found(names: Mapping[int, str], found: Iterable[int], there: Sequence[str], place: str) -> None:
    """Check that every class has a category. Raises: DataError naming the first that has none."""
    missing = sorted(set(names) - set(found))
    if not missing:
        return
    name = names[missing[0]]
    known = ", ".join(safe_text(other) for other in there[:20]) + (" …" if len(there) > 20 else "")
    what = f"{counted(len(missing), 'class')} of names that no category matches; the first is {visible(name)!r}"
    raise DataError(f"{place}: {what}", suggest(name, there) or f"the categories are {known}")


def left_out_text(left_out: Mapping[str, int]) -> str:
    """Return the classes that are no classes of the data set, with the number of objects of each."""
    most = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{safe_text(name)} ({count})" for name, count in most[:SHOWN])
    return shown + (f" … and {len(most) - SHOWN} more" if len(most) > SHOWN else "")


def mapping_text(classes: Mapping[int | str, int]) -> str:
    """Return which category ids are which classes, ``1-80 → 0-79`` where they follow each other."""
    pairs = sorted(classes.items(), key=lambda item: item[1])
    ids = [category_id for category_id, _ in pairs]
    if len(ids) > 2 and all(isinstance(i, int) and i == ids[0] + n and c == n for n, (i, c) in enumerate(pairs)):
        return f"{ids[0]}-{ids[-1]} → 0-{len(ids) - 1}"
    shown = ", ".join(f"{safe_text(category_id)} → {index}" for category_id, index in pairs[:SHOWN])
    return shown + (f" … and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else "")
