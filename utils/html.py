"""One HTML page that needs nothing else: text made harmless, pictures inside, its own style, no script, no request.

Whatever arrives here as text is a name or a sentence; what the functions return is markup, which only they make.
"""

import base64
import html
from collections.abc import Sequence

import cv2
import numpy as np

from utils.text import safe_text

# even if a text got past the escaping, a browser would run nothing and ask nobody
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --paper: #fff; --soft: #5b6570; --line: #d8dde2; --card: #f5f7f8;
        --error: #b3261e; --warning: #8a5a00; --note: #2d5f9a; --good: #1d6b3a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --paper: #14181c; --soft: #9aa5b0; --line: #343c44; --card: #1d2328;
          --error: #ff8a80; --warning: #f0b95a; --note: #8fbcf2; --good: #7fd09a; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(.75rem, 3vw, 2.5rem); max-width: 80rem; background: var(--paper);
       color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0 0 .5rem; font-size: 1.6rem; line-height: 1.2; }
h2 { margin: 2rem 0 .5rem; font-size: 1.2rem; line-height: 1.3; }
p { margin: .4rem 0; }
a { color: var(--note); }
code { font: .875em ui-monospace, monospace; }
.soft { color: var(--soft); }
.error { color: var(--error); } .warning { color: var(--warning); } .note { color: var(--note); }
.good { color: var(--good); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
th.number { text-align: right; }
td.number { text-align: right; white-space: nowrap; }
img { max-width: 100%; height: auto; display: block; border-radius: 3px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); gap: .9rem; }
figure { margin: 0; padding: .5rem; background: var(--card); border-radius: 5px; }
figcaption { margin-top: .35rem; font-size: .85rem; line-height: 1.35; }
"""


def escape(text: object) -> str:
    """Return a text from anywhere as markup that shows it: on one line, fit for an attribute in quotes too."""
    return html.escape(safe_text(text))


def data_uri(data: bytes, kind: str = "image/jpeg") -> str:
    """Return the content of a file as an address that carries it."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture(image: np.ndarray, alt: str, quality: int = 80) -> str:
    """Return an RGB image (H, W, 3) uint8 as ``<img>``, compressed as a JPEG of this ``quality``."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    height, width = image.shape[:2]
    return f'<img src="{data_uri(data.tobytes())}" alt="{escape(alt)}" width="{width}" height="{height}">'


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Return a table of texts; numbers, as ``int`` and ``float``, stand at the right, and so do their titles."""
    kinds = [_kind(value) for value in rows[0]] if rows else [""] * len(head)
    titles = "".join(f'<th scope="col"{kind}>{escape(title)}</th>' for title, kind in zip(head, kinds, strict=True))
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>'


def _kind(value: object) -> str:
    return " class=number" if isinstance(value, int | float) else ""


def _cell(value: object) -> str:
    shown = f"{value:,.6g}" if isinstance(value, float) else escape(value)
    return f"<td{_kind(value)}>{shown}</td>"


def page(title: str, body: str, style: str = "") -> str:
    """Return the whole document: ``title`` is text, ``body`` markup, ``style`` rules beside the common ones."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )
