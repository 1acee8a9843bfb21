"""The sections about where a run came from: machine, code, data, and where its time went."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from utils.html import table
from utils.report.folder import RunFolder
from utils.text import duration


def origin_sections(run: RunFolder) -> list[str]:
    """Return the sections for which the run has a record."""
    found = (("Environment", _environment(run)), ("Data", _data(run)), ("Time", _time(run)))
    return [f"<h2>{title}</h2>{markup}" for title, markup in found if markup]


def origin(session: Mapping[str, Any]) -> dict[str, str]:
    """Return what a session says of code and machine, by name."""
    found = {str(key): str(value) for key, value in _mapping(session.get("environment")).items()}
    git = _mapping(session.get("git"))
    if git:
        found["git commit"] = (
            f"{git.get('commit')}{', with changes that are not committed' if git.get('dirty') else ''}"
        )
    return found


def data_facts(run: RunFolder) -> dict[str, str]:
    """Return file and fingerprint of the data set, by name."""
    data = _mapping(run.record.get("data"))
    found = {"file": str(data["file"])} if data.get("file") else {}
    for split, facts in _mapping(data.get("splits")).items():
        known = _mapping(facts)
        hashes = ", ".join(f"{part} {known.get(part)}" for part in ("files", "shapes", "labels"))
        found[str(split)] = f"{known.get('images')} images: {hashes}"
    return found


def _environment(run: RunFolder) -> str:
    told = [origin(session) for session in run.sessions]
    rows = []
    for name in dict.fromkeys(name for facts in told for name in facts):
        values = dict.fromkeys(facts.get(name, "–") for facts in told)  # of a run that went on elsewhere there are more
        rows.append((name, ", then ".join(values)))
    return table(("", "of the run"), rows) if rows else ""


def _data(run: RunFolder) -> str:
    facts = data_facts(run)
    return table(("", "hashes of file names, sizes and labels"), list(facts.items())) if facts else ""


def _time(run: RunFolder) -> str:
    spent: Counter[str] = Counter()
    for session in run.sessions:
        for part, seconds in _mapping(session.get("parts")).items():
            if isinstance(seconds, int | float):
                spent[str(part)] += seconds
    if not spent or run.seconds is None:
        return ""
    rest = max(0.0, run.seconds - sum(spent.values()))
    rows = [(part, duration(seconds)) for part, seconds in [*spent.most_common(), ("all else", rest)]]
    starts = [str(session.get("started")) for session in run.sessions]
    return f"{table(('part', 'time'), [*rows, ('together', duration(run.seconds)), ('begun', starts[0])])}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
