"""Folders of studies whose losses are known, of which nothing is left to run."""

from pathlib import Path

import pandas as pd

from olora_viz.studies.folder import COLUMNS, Ledger, row_of, write_parquet
from olora_viz.studies.verdicts import Verdicts


def written(found: Verdicts, folder: Path) -> Path:
    """Write the folder of a study with the rows of its runs, as if one race had had them all."""
    ledger = Ledger(folder, found.study)
    ledger.open()
    rows = [
        {**dict.fromkeys(COLUMNS, 0.0), **its, **row_of(one), "r": one.cell.r, "init": one.method, "run": "0001"}
        for one, its in found.rows.items()
    ]  # fmt: skip
    write_parquet(pd.DataFrame(rows), ledger.runs / "0001.parquet")
    return folder
