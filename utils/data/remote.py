"""Download one image or video that a user names by its URL: bounded in time, size and redirects.

A service that takes URLs from strangers would open the doors of its own network with them, so ``public_only`` refuses
addresses that are not public, of redirects too. A command line is typed by the owner of the machine: there any address
may be named, as cameras stand in one's own network, but no public one may lead to a private one.
"""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

from utils.errors import DataError

URL_STARTS = ("http://", "https://")
TIMEOUT_S = 10  # without a byte
MAX_REDIRECTS = 5
MAX_IMAGE_BYTES = 100_000_000
MAX_VIDEO_BYTES = 2_000_000_000
CHUNK = 1 << 20
_DOWNLOAD = "download it, and give the path"


def is_url(text: str) -> bool:
    """Return whether a text is a URL that can be downloaded from."""
    return text.lower().startswith(URL_STARTS)


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL. Raises: DataError."""
    try:
        return urlsplit(url)
    except ValueError as error:
        raise DataError(f"{without_password(url)}: not a URL ({error})", "check it in a browser") from error


def url_name(url: str) -> str:
    """Return the file name at the end of a URL, empty where it has none. Raises: DataError."""
    return Path(unquote(split_url(url).path)).name


def without_password(url: str) -> str:
    """Return a URL as it may be shown: ``rtsp://user:secret@host/live`` without user and password."""
    start, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{start}{mark}{host.rpartition('@')[2]}{slash}{path}"


def download(url: str, public_only: bool = True) -> bytes:
    """Return what lies behind the URL of an image. Raises: DataError, also for an address that is not allowed."""
    with _opened(url, public_only) as response:
        return b"".join(_chunks(response, url, MAX_IMAGE_BYTES))


def download_to(path: Path, url: str, limit: int, public_only: bool = True) -> None:
    """Write what lies behind a URL, at most ``limit`` bytes, into a file. Raises: DataError, as ``download``."""
    with _opened(url, public_only) as response, path.open("wb") as file:
        for chunk in _chunks(response, url, limit):
            file.write(chunk)


class _NoRedirect(HTTPRedirectHandler):
    """Leaves redirects to ``_opened``, which looks at each target first."""

    def redirect_request(self, *_: Any) -> None:
        return None


@contextmanager
def _opened(url: str, public_only: bool) -> Iterator[IO[bytes]]:
    opener = build_opener(_NoRedirect)
    for _ in range(MAX_REDIRECTS + 1):
        public_only |= _check_address(url, public_only)  # what is public leads to nothing private
        try:
            response = opener.open(url, timeout=TIMEOUT_S)
        except HTTPError as error:
            if error.code in (301, 302, 303, 307, 308) and "Location" in error.headers:
                url = urljoin(url, error.headers["Location"])
                continue
            raise _failed(url, error) from error
        except (OSError, ValueError) as error:
            raise _failed(url, error) from error
        with response:
            yield response
        return
    shown = without_password(url)
    raise DataError(f"{shown}: redirected more than {MAX_REDIRECTS} times", "give the URL of the file itself")


def _chunks(response: IO[bytes], url: str, limit: int) -> Iterator[bytes]:
    size = 0
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, ValueError) as error:
            raise _failed(url, error) from error
        if not chunk:
            return
        size += len(chunk)
        if size > limit:
            raise DataError(f"{without_password(url)}: more than {limit // 1_000_000} MB", _DOWNLOAD)
        yield chunk


def _failed(url: str, error: Exception) -> DataError:
    return DataError(f"{without_password(url)}: cannot be downloaded ({error})", "check the URL in a browser")


def _check_address(url: str, public_only: bool) -> bool:
    """Return whether the address of a URL is public. Raises: DataError where it has to be, and where it is none."""
    host, shown = split_url(url).hostname, without_password(url)
    if not is_url(url) or not host:
        raise DataError(f"{shown}: not the URL of a file", "give http://… or https://…")
    addresses = _addresses(host)
    private = [address for address in addresses if not ipaddress.ip_address(address).is_global]
    if not addresses or (private and public_only):
        what = f"{host} is {private[0]}, which is not a public address" if private else f"{host} is not known"
        raise DataError(f"{shown}: {what}", _DOWNLOAD)
    return not private


def _addresses(host: str) -> list[str]:
    try:
        return [entry[4][0].partition("%")[0] for entry in socket.getaddrinfo(host, None)]
    except OSError:
        return []
