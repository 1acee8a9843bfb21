"""Read a JSON file of any size piece by piece: one value of its lists after the other, never the whole."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from utils.errors import DataError
from utils.text import one_line, visible

CHUNK = 1 << 20  # characters that are read at a time; more where a value is longer
SPACE = " \t\n\r"
FIX = "give a file with the keys images, annotations and categories"


def stream_json(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of the object that a file holds; of a list, (key, ...) and then (key, element) for each.

    Raises: DataError for a file that is not such an object, naming the character that is wrong.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = _Text(file)
            if text.next() != "{":
                kind = "a list, as the results of a detector are," if text.next() == "[" else "not an object of JSON"
                raise DataError(f"{visible(path)}: {kind} instead of COCO annotations", FIX)
            yield from _members(text)
            if text.next():
                raise ValueError("more text behind its end")
    except OSError as error:
        raise DataError(f"{visible(path)}: cannot be read ({error.strerror})", "check its permissions") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{visible(path)}: not UTF-8 text", FIX) from error
    except EOFError as error:
        raise DataError(f"{visible(path)}: ends in the middle, at character {text.place}", "get it again") from error
    except (ValueError, RecursionError) as error:
        what = one_line(getattr(error, "msg", error), 80)
        raise DataError(f"{visible(path)}: not JSON after character {text.place}: {what}", FIX) from error


def _members(text: "_Text") -> Iterator[tuple[str, Any]]:
    for _ in text.items("{", "}"):
        key = text.value()
        if not isinstance(key, str):
            raise ValueError("a key that is not a text")
        text.take(":")
        if text.next() != "[":
            yield key, text.value()
            continue
        yield key, ...
        for _ in text.items("[", "]"):
            yield key, text.value()


class _Text:
    """The part of a file that has been read and not been used yet."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.buffer, self.at, self.used = file, "", 0, 0
        self.decode = json.JSONDecoder().raw_decode

    @property
    def place(self) -> int:
        return self.used + self.at

    def next(self) -> str:
        """Return the next character that is no space, without taking it; nothing at the end of the file."""
        while True:
            while self.at < len(self.buffer):
                if self.buffer[self.at] not in SPACE:
                    return self.buffer[self.at]
                self.at += 1
            if not self._more(CHUNK):
                return ""

    def take(self, expected: str) -> str:
        """Take the next character, which must be one of those expected."""
        found = self.next()
        if not found:
            raise EOFError
        if found not in expected:
            raise ValueError(f"{found!r} instead of {' or '.join(expected)}")
        self.at += 1
        return found

    def items(self, start: str, end: str) -> Iterator[None]:
        """Yield in front of every item between two brackets."""
        self.take(start)
        if self.next() == end:
            self.take(end)
            return
        yield
        while self.take("," + end) != end:
            yield

    def value(self) -> Any:
        """Take a whole value."""
        size = CHUNK
        self.next()
        while True:
            try:
                value, end = self.decode(self.buffer, self.at)
                length = end - self.at
                if end < len(self.buffer) or not self._more(size):  # else a number may go on
                    self.at += length
                    return value
            except ValueError:
                if not self._more(size):
                    if not self.next() or self._is_cut():
                        raise EOFError from None
                    raise
            size *= 2

    def _is_cut(self) -> bool:
        """True where what is wrong with the value is that the file ends."""
        try:
            self.decode(self.buffer, self.at)
        except json.JSONDecodeError as error:
            return error.pos >= len(self.buffer.rstrip()) or error.msg.startswith("Unterminated string")
        except ValueError:
            return False
        return False

    def _more(self, size: int) -> bool:
        piece = self.file.read(size)
        self.used += self.at
        self.buffer, self.at = self.buffer[self.at :] + piece, 0
        return bool(piece)
