"""Run the checks, and say in a few lines what they found."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from utils.doctor.checks import CHECKS
from utils.doctor.facts import ERROR, SEVERITIES, WARNING, Facts, Finding
from utils.text import counted, safe_text, shorten

LINES = 3  # examples of a finding on the terminal


def examine(facts: Facts) -> list[Finding]:
    """Return what all checks find, the worst first."""
    found = [replace(finding, check=name) for name, check in CHECKS.items() for finding in check(facts)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def verdict(findings: Sequence[Finding]) -> str:
    """Return one sentence: whether the set is fit to train on."""
    counts = Counter(finding.severity for finding in findings)
    fit = "not fit to train on" if counts[ERROR] else "fit to train on"
    rest = [counted(counts[severity], severity) for severity in SEVERITIES if counts[severity]]
    return f"{fit}: {', '.join(rest)}" if rest else f"{fit}: nothing found"


def summary(facts: Facts) -> list[tuple[str, int, int, int, int]]:
    """Return (split, images, unusable ones, ones without a label file, boxes) of each split."""
    rows = []
    for split in facts.splits:
        own = [picture for picture in facts.pictures if picture.split == split]
        bad = sum(picture.pixels is None for picture in own)
        bare = sum(not picture.has_labels and picture.shape is not None for picture in own)
        rows.append((split, len(own), bad, bare, int((facts.box_splits == split).sum()) if len(facts.boxes) else 0))
    return rows


def heading(finding: Finding) -> str:
    """Return the title with the count behind it, as text."""
    return safe_text(finding.title) + (f": {finding.count}" if finding.count else "")


def told(facts: Facts, findings: Sequence[Finding]) -> str:
    """Return the findings for a terminal; of the notes no examples."""
    lines = [
        f"{split}: {counted(images, 'image')} ({bad} unusable, {bare} without labels), {counted(boxes, 'box')}"
        for split, images, bad, bare, boxes in summary(facts)
    ]
    for finding in findings:
        lines.append(f"{finding.severity}: {heading(finding)} [{finding.check}]")
        shown = finding.examples[:LINES] if finding.severity in (ERROR, WARNING) else ()
        lines += [f"    {safe_text(facts.place(example))}  {shorten(example.text, 100)}" for example in shown]
        if shown and finding.count > len(shown):
            lines.append(f"    … and {finding.count - len(shown)} more")
        if finding.severity in (ERROR, WARNING):
            lines.append(f"    fix: {safe_text(finding.fix)}")
    return "\n".join([*lines, verdict(findings)])
