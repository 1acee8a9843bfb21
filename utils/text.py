"""Text from outside, such as class and file names, made fit for where it is shown: terminal, picture, table.

Whatever it holds, it stays on one line, reads as it is written, and steers neither a terminal nor a spreadsheet.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

INVISIBLE = frozenset("\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff")
STEERING = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, halves of characters, separators of lines and paragraphs
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four are wide ones
MARKDOWN = re.compile(r"[\\`*<\[|]|(?<![^\W_])_|_(?![^\W_])")  # an underscore inside a word is not markup

Key = TypeVar("Key", bound=Hashable)
Name = TypeVar("Name", bound=Hashable)


def safe_text(text: object) -> str:
    """Return a text on one line: control characters, line ends and marks of direction become ``\\x1b``, ``\\n`` …"""
    shown = str(text)
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(_escape(char) if _steers(char) else char for char in shown)


def visible(text: object) -> str:
    """Return a text as ``safe_text``, with all else that cannot be told from its neighbours, such as a no-break space.

    For a path that is not found: what is wrong with it may be just that.
    """
    return "".join(char if char.isprintable() else _escape(char) for char in str(text))


def one_line(text: object, limit: int | None = None) -> str:
    """Return at most ``limit`` characters of a message, such as that of an error, each white space in it one space."""
    return " ".join(str(text).split())[:limit]


def safe_lines(text: str) -> str:
    """Return a text of several lines of our own, each as ``safe_text``."""
    return "\n".join(map(safe_text, text.split("\n")))


def _steers(char: str) -> bool:
    return char in INVISIBLE or unicodedata.category(char) in STEERING


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def shorten(text: str, limit: int = 40) -> str:
    """Return a text as ``safe_text``; ``…`` stands for its middle where it has more than ``limit`` characters."""
    shown = safe_text(text)
    if len(shown) <= limit:
        return shown
    end = limit // 3
    return f"{shown[: limit - end - 1]}…{shown[-end:]}"


def fit_right(text: str, width: int) -> str:
    """Return a text as ``safe_text`` in the right of a column of a terminal, where Chinese letters are two wide."""
    limit = width
    while columns(shown := shorten(text, limit)) > width:
        limit -= 1
    return " " * (width - columns(shown)) + shown


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes; Chinese letters take two each."""
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def duration(seconds: float) -> str:
    """Return a time as one reads it: ``48 s``, ``12 min 5 s``, ``3 h 20 min``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def rough_duration(seconds: float) -> str:
    """Return a time that is an estimate, no finer than it can be known: ``50 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{max(round(seconds / 10), 1) * 10} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60 // 10 * 10} min"


def counted(count: int, what: str) -> str:
    """Return a count with what it counts, ``1 epoch``, ``2 epochs``; the plural is English, of any class name."""
    hisses = what.endswith(("s", "x", "z", "sh")) or (what.endswith("ch") and not what.endswith("och"))  # epochs
    plural = f"{what}es" if hisses else f"{what}s"
    return f"{count} {what if count == 1 else plural}"


def csv_cell(text: str) -> str:
    """Return a text as ``safe_text``, with a ``'`` in front where a spreadsheet would run it as a formula."""
    return f"'{safe_text(text)}" if text.lstrip(" ").startswith(FORMULA_STARTS) else safe_text(text)


def markdown_cell(text: str) -> str:
    """Return a text as ``safe_text``, in which nothing is markup, neither Markdown's nor HTML's."""
    return MARKDOWN.sub(r"\\\g<0>", safe_text(text))


def distinct(candidates: Mapping[Key, Sequence[Name]]) -> dict[Key, Name]:
    """Return for each key the first of its candidate names that no other key has among its own, else its last.

    The last ones must differ from key to key; then all that is returned does, whatever the order.
    """
    holders = Counter(name for names in candidates.values() for name in set(names))
    return {key: next((name for name in names if holders[name] == 1), names[-1]) for key, names in candidates.items()}


def distinct_names(names: Mapping[int, str]) -> dict[int, str]:
    """Return class names by id; where several classes have one, their ids follow: ``cat (0)``, ``cat (3)``."""
    return distinct({class_id: (name, f"{name} ({class_id})") for class_id, name in names.items()})
