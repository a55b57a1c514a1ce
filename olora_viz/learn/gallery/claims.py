"""The recorded findings on claims, made by `olora_viz.learn.gallery.judge`: one small JSON file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from olora_viz.learn.gallery.recording import MOST_RECORDED, rounded_all
from olora_viz.machine.files import read_json_object, write_text
from olora_viz.machine.tables import one_line
from olora_viz.studies.claims.claim import Finding
from olora_viz.studies.claims.evidence import OURS
from olora_viz.studies.statistics import BETTER, LEVEL, UNDECIDED, WORSE
from olora_viz.studies.verdicts import Verdicts

CLAIMS_FILE = Path(__file__).parent / "claims.json"


@dataclass(frozen=True)
class RecordedFinding:
    """A finding on one claim, with what it was measured on."""

    claim: str
    """Its name."""
    model: str
    """The model, or several with commas between them."""
    task: str
    """The task, or several; empty if the claim is about weights alone."""
    study: str
    """The name of the study; empty if the claim needs none."""
    setup: str
    """The set-up in words."""
    date: str
    """When it was recorded: year, month and day."""
    finding: Finding
    command: str
    """The commands that repeat it, one a line."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What a newer finding takes the place of."""
        return self.claim, self.model, self.task, self.study

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return vars(self) | {"finding": rounded_all(self.finding.to_json(), 4)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RecordedFinding:
        """Read back what `to_json` wrote; KeyError, TypeError or ValueError for another form."""
        words = {each.name: values[each.name] for each in fields(cls) if each.name != "finding"}
        if not all(isinstance(word, str) for word in words.values()):
            raise ValueError(f"a finding is told in strings, not {[*words.values()]!r}")
        return cls(**words, finding=Finding.from_json(values["finding"]))


@dataclass(frozen=True)
class CellVerdict:
    """What a study decided on OLoRA against LoRA in one cell."""

    model: str
    task: str
    r: int
    at_one_rate: str
    """better, worse, level or undecided."""
    at_best_rates: str
    why: str
    """Why it is undecided at best rates, in words."""
    seeds: int
    steps: int
    """Of the study's runs: longer ones of the same cell are others."""

    def __post_init__(self) -> None:
        """Check the verdicts."""
        for verdict in (self.at_one_rate, self.at_best_rates):
            if verdict not in (BETTER, WORSE, LEVEL, UNDECIDED):
                raise ValueError(f"a verdict on a cell cannot be {verdict!r}")

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What a newer verdict takes the place of."""
        return self.model, self.task, self.r, self.steps


@dataclass(frozen=True)
class RecordedClaims:
    """All that is recorded."""

    findings: tuple[RecordedFinding, ...] = ()
    cells: tuple[CellVerdict, ...] = ()

    def of(self, claim: str) -> list[RecordedFinding]:
        """Return the findings on one claim."""
        return [finding for finding in self.findings if finding.claim == claim]

    def with_newer(self, findings: Iterable[RecordedFinding], cells: Iterable[CellVerdict] = ()) -> RecordedClaims:
        """Add findings and cells, which take the place of older ones of the same key."""
        findings_by_key = {finding.key: finding for finding in (*self.findings, *findings)}
        cells_by_key = {cell.key: cell for cell in (*self.cells, *cells)}
        return replace(self, findings=tuple(findings_by_key.values()), cells=tuple(cells_by_key.values()))


def cells_of(study_verdicts: Verdicts) -> list[CellVerdict]:
    """Return what a study decides on OLoRA, in each cell in which both have run.

    A model or task that is a path is named by its last part.
    """
    return [
        CellVerdict(
            Path(each.cell.model).name, Path(each.cell.task).name, each.rank,
            each.verdict_shared_rate, each.verdict, each.why, each.seeds, study_verdicts.study.race.steps,
        )
        for each in study_verdicts.each if each.method == OURS and each.seeds
    ]  # fmt: skip


def write_claims(recorded: RecordedClaims, path: Path = CLAIMS_FILE) -> None:
    """Write all that is recorded, one finding per line; ValueError if the file would exceed `MOST_RECORDED`."""
    findings = ",\n".join(one_line(finding.to_json()) for finding in recorded.findings)
    cells = ",\n".join(one_line(asdict(cell)) for cell in recorded.cells)
    text = f'{{"findings": [\n{findings}\n],\n"cells": [\n{cells}\n]}}\n'
    if len(text.encode()) > MOST_RECORDED:
        raise ValueError(f"the findings take {len(text.encode()):,} bytes, more than {MOST_RECORDED:,}")
    write_text(path, text)


def read_claims(path: Path = CLAIMS_FILE) -> RecordedClaims:
    """Read what is recorded; ValueError if the file is damaged."""
    values = read_json_object(path)
    try:
        return RecordedClaims(
            tuple(RecordedFinding.from_json(finding) for finding in values["findings"]),
            tuple(CellVerdict(**cell) for cell in values["cells"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path.name!r} does not hold findings on claims: {what}") from None


@cache
def recorded_claims() -> RecordedClaims:
    """Return what the package brings, read once.

    Examples:
        >>> import olora_viz as ov
        >>> for recorded in ov.recorded_claims().of("subset"):
        ...     print(recorded.model, recorded.finding.verdict)
        glassllm fails
        glassllm-pt fails
    """
    return read_claims()
