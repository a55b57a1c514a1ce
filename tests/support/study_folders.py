"""Folders of studies whose losses are known, of which nothing is left to run."""

from pathlib import Path

import pandas as pd

from olora_viz.studies.folder import COLUMNS, Ledger, write_parquet
from olora_viz.studies.verdicts import Verdicts


def written(found: Verdicts, folder: Path) -> Path:
    """Write the folder of a study with the rows of its runs, as if one race had had them all."""
    ledger = Ledger(folder, found.study)
    ledger.open()
    rows = [
        {**dict.fromkeys(COLUMNS, 0.0), **its, "model": one.cell.model, "task": one.cell.task,
         "r": one.cell.r, "init": one.init, "lr": one.lr, "seed": one.seed, "run": "0001"}
        for one, its in found.rows.items()
    ]  # fmt: skip
    write_parquet(pd.DataFrame(rows), ledger.runs / "0001.parquet")
    return folder
