"""The recorded chain, which the lesson on training again reads: one small JSON file."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from pathlib import Path

from olora_viz.lanes.lane import Lane
from olora_viz.learn.gallery.recording import RECORDED_DIGITS, Origin, rounded_all
from olora_viz.machine.files import read_json_object, write_text
from olora_viz.machine.tables import one_line
from olora_viz.races.chain import Chain, chain
from olora_viz.races.config import RaceConfig
from olora_viz.tasks.keep import NONE

CHAIN_FILE = Path(__file__).parent / "chain.json"

TASKS = ("number-words", "uppercase", "sentiment")

RATES = {"lora": (3e-3,), "olora": (1e-3, 3e-3), "full": (1e-3,)}
"""Of each start: one that all share, and of OLoRA also one at which it learns as much as LoRA does there."""

CONFIG = RaceConfig(
    lanes=tuple(Lane(init, lr=lr, seed=seed) for init, lrs in RATES.items() for lr in lrs for seed in range(3)),
    eval_every=0, device="cpu", dtype="float32", keep=NONE,
)  # fmt: skip


def write_chain(origin: Origin) -> None:
    """Race the chain and write its results, a link per line."""
    races = chain(CONFIG, TASKS)
    for link in races:
        for _ in link:
            pass
    values = rounded_all({"made": asdict(origin)} | races.to_json(), RECORDED_DIGITS)
    links = ",\n".join(map(one_line, values.pop("links")))
    parts = [f'"{name}": {one_line(value)}' for name, value in values.items()]
    write_text(CHAIN_FILE, "{" + ",\n".join([*parts, f'"links": [\n{links}\n]']) + "}\n")


@cache
def recorded_chain() -> Chain:
    """Read the recorded chain, once."""
    return Chain.from_json(read_json_object(CHAIN_FILE))
