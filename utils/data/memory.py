"""How much memory this process may still use: of the machine, and of every control group (container) around it.

A group is found as the kernel tells it: /proc/self/cgroup names it, /proc/self/mountinfo says where its files lie.
Files: https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class _Files(NamedTuple):
    """What a version of control groups calls its files, and in memory.stat the cache that it would give back."""

    limits: tuple[str, ...]
    usage: str
    given_back: str


V1 = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
V2 = _Files(("memory.max", "memory.high"), "memory.current", "inactive_file")


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that this process may still use, or None where the system does not say.

    ``root`` is the folder that holds proc and sys. The least of the machine, the group and all groups above it counts.
    """
    machine = _fields(root / "proc/meminfo").get("MemAvailable:")
    free = [] if machine is None else [machine * 1024]
    for folder, files in _groups(root):
        usage = _number(folder / files.usage)
        limits = [limit for name in files.limits if (limit := _number(folder / name)) is not None]
        if limits and usage is not None:
            cached = _fields(folder / "memory.stat").get(files.given_back, 0)
            free.append(max(min(limits) - usage + cached, 0))
    return min(free, default=None)


def _groups(root: Path) -> Iterator[tuple[Path, _Files]]:
    """Yield the folder of this process's group and those above it, as far as they are mounted."""
    lines = (line.split(":", 2) for line in _lines(root / "proc/self/cgroup"))
    own = {controller: path for _, names, path in lines for controller in names.split(",")}  # of version 2: ""
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, what = line.partition(" - ")
        mounted, point = mount.split()[3:5]
        kind, *_, options = what.split()
        is_v1 = kind == "cgroup" and "memory" in options.split(",")
        group = own.get("" if kind == "cgroup2" else "memory") if is_v1 or kind == "cgroup2" else None
        if group is not None:
            top, inside = root / point.lstrip("/"), _inside(group, mounted)
            for part in (inside, *inside.parents):
                yield top / part, V2 if kind == "cgroup2" else V1


def _inside(group: str, mounted: str) -> PurePosixPath:
    """Return the path of a group below what is mounted; that itself where the group lies elsewhere, as it may seem."""
    try:
        path = PurePosixPath(group).relative_to(mounted)
    except ValueError:
        return PurePosixPath()
    return PurePosixPath() if ".." in path.parts else path


def _lines(path: Path) -> list[str]:
    """Return the lines of a file of the kernel, none where it is missing or not for us."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _fields(path: Path) -> dict[str, int]:
    """Return the numbers of a file with one name and number on each line."""
    rows = (line.split() for line in _lines(path))
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _number(path: Path) -> int | None:
    """Return the number that a file holds; None for ``max``, and where there is no such file."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None
