"""What experiment trackers have kept, read by their own readers."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from support.waiting import wait_until


class Kept(NamedTuple):
    """One run in a tracker."""

    steps: dict[int, dict[str, float]]
    tables: dict[str, Any]
    """As the tracker keeps them."""


def in_trackio(folder: Path) -> list[tuple[str, Kept]]:
    """Return the runs of a folder's project, with their names."""
    import trackio

    found = []
    for run in trackio.Api().runs(folder.name):
        logged = trackio.SQLiteStorage.get_logs(folder.name, run.name, run_id=run.id)
        kept = Kept({}, {})
        for line in logged:
            values = {key: value for key, value in line.items() if key != "timestamp"}
            step = values.pop("step")
            for key, value in values.items():
                if isinstance(value, dict):
                    kept.tables[key] = value["_value"]
                else:
                    kept.steps.setdefault(step, {})[key] = value
        found.append((run.name, kept))
    return found


def in_wandb(folder: Path) -> list[tuple[str, Kept]]:
    """Return the runs that were kept offline in a folder, with their names."""
    found = []
    for file in folder.glob("wandb/offline-run-*/*.wandb"):
        # Its service may write the last of a log after the run has ended.
        wait_until(lambda file=file: any(record.HasField("exit") for record in _records(file.read_bytes())))
        name, kept = "", Kept({}, {})
        for record in _records(file.read_bytes()):
            if record.HasField("run"):
                name = record.run.display_name
            if record.HasField("history"):
                items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json)
                         for item in record.history.item}  # fmt: skip
                step = items.pop("_step")
                for key, value in items.items():
                    table, _, part = key.partition("/")
                    if part == "path":
                        text = (file.parent / "files" / value).read_text("utf-8")
                        kept.tables[table] = json.loads(text)
                    elif not part and not key.startswith("_"):
                        kept.steps.setdefault(step, {})[key] = value
        found.append((name, kept))
    return found


def _records(data: bytes) -> Iterator[Any]:
    """Yield the records of a log in the format of LevelDB, after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, record = 7, b""
    while at + 7 <= len(data):
        if (left := 2**15 - at % 2**15) < 7:  # no record begins at the end of a block
            at += left
            continue
        size, kind = struct.unpack_from("<HB", data, at + 4)
        if at + 7 + size > len(data):  # it is being written
            return
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(record)
            record = b""


def in_tensorboard(folder: Path) -> list[tuple[str, Kept]]:
    """Return the runs below a folder, with their names."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = []
    for at in (folder / "tensorboard").iterdir():
        events = EventAccumulator(str(at), size_guidance={"scalars": 0})
        events.Reload()
        kept = Kept({}, {})
        for tag in events.Tags()["scalars"]:
            for event in events.Scalars(tag):
                assert tag not in kept.steps.get(event.step, {})
                kept.steps.setdefault(event.step, {})[tag] = event.value
        for tag in events.Tags()["tensors"]:
            text = events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
            kept.tables[tag.removesuffix("/text_summary")] = text
        found.append((at.name, kept))
    return found


READERS = {"trackio": in_trackio, "wandb": in_wandb, "tensorboard": in_tensorboard}
