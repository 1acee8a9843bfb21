"""What code and which machine a run was made with."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

PACKAGES = ("torchvision", "numpy", "opencv-python-headless", "opencv-python", "timm")
PATIENCE_S = 2.0  # for git, which may wait for a network disk


def git_state(root: Path) -> dict[str, object] | None:
    """Return ``commit`` and whether files that it knows are changed, ``dirty``; None where ``root`` is no clone."""
    top, commit = _git(root, "rev-parse", "--show-toplevel"), _git(root, "rev-parse", "HEAD")
    if not top or not commit or Path(top) != root:  # an unpacked archive may lie in another clone
        return None
    status = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(status)}


def _git(root: Path, *arguments: str) -> str:
    """Return what git prints, nothing where it is missing, slow or refuses."""
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            command, capture_output=True, text=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL
        )
    except (OSError, UnicodeError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def versions() -> dict[str, str]:
    """Return the versions of Python, the system and packages beside PyTorch; nothing is imported for it."""
    found = {"Python": platform.python_version(), "system": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
