"""Record the races of the gallery, ``start`` and ``chain``: ``python -m olora_viz.learn.gallery [NAME …]``."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from olora_viz.background.record import RaceRecord
from olora_viz.learn.gallery import FOLDER, RECORDINGS, RecordingSetUp
from olora_viz.learn.gallery.chain import CHAIN_FILE, CONFIG, write_chain
from olora_viz.learn.gallery.recording import Origin, Recording, write
from olora_viz.learn.gallery.start import START_FILE, measurement, write_start
from olora_viz.machine.checks import unknown
from olora_viz.machine.devices import device_words
from olora_viz.machine.version import versions
from olora_viz.machine.wording import counted
from olora_viz.measures.factors import Factors, inside
from olora_viz.measures.gradients import Gradients
from olora_viz.measures.update_spectra import UpdateSpectra
from olora_viz.races.race import race
from olora_viz.races.step import Step

PACKAGES = ("torch", "transformers", "numpy")
"""Packages whose versions a recording names."""

RECORDED_ANSWERS = 4
"""Held-out prompts that every lane answers."""


def record(name: str, setup: RecordingSetUp) -> Recording:
    """Run the race of a set-up and record it."""
    racing = race(setup.config)
    layers = inside(racing.lanes).ends
    steps, early = [], []
    try:
        for step in racing:
            print(f"\r{name}: step {step.step}", end="", file=sys.stderr, flush=True)
            steps.append(_thinned(step, setup.every_block, layers))
            if step.eval_loss is not None and not racing.task.plain_text:
                early += racing.answers(1)
        print(file=sys.stderr)
        tested, answers = racing.tested(), tuple(racing.answers(RECORDED_ANSWERS))
        results = {"steps": tuple(steps), "tested": tested, "answers": answers, "early_answers": tuple(early)}
        record = replace(RaceRecord.of(racing), **results)
        if record.inside:
            record = replace(record, inside=record.inside.only(record.inside.ends))
    finally:
        racing.lanes.detach()
    origin = origin_of(racing.device)
    return Recording.of_race(record, name=name, title=setup.title, sentence=setup.sentence, origin=origin)


def record_start() -> None:
    """Measure the start of the first race and record it."""
    config = next(iter(RECORDINGS.values())).config
    work = measurement(config)
    work.compute()
    if work.error:
        raise work.error
    write_start(work, config, origin_of(torch.device(config.device)))


def origin_of(device: torch.device) -> Origin:
    """Return where something is recorded that was computed here, on this device, today."""
    return Origin(datetime.now(UTC).date().isoformat(), _device(device), versions(*PACKAGES))


def main(names: list[str]) -> int:
    """Record the given races, or all of them, the start of the first one and the chain, into the package's folder."""
    known = (*RECORDINGS, START_FILE.stem, CHAIN_FILE.stem)
    parser = argparse.ArgumentParser("python -m olora_viz.learn.gallery", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=" ".join(known))
    for name in (chosen := parser.parse_args(names).names):
        if name not in known:
            parser.error(unknown("recording", name, known))
    for name in chosen or known:
        path = FOLDER / f"{name}.json"
        if path == START_FILE:
            record_start()
        elif path == CHAIN_FILE:
            write_chain(origin_of(torch.device(CONFIG.device)))
        else:
            write(record(name, RECORDINGS[name]), path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    return 0


def _thinned(step: Step, every_block: int, layers: Sequence[str]) -> Step:
    """Keep per-layer measurements for some of the blocks only, and pictures of some layers."""

    def is_kept(layer: str) -> bool:
        block = next((int(part) for part in layer.split(".") if part.isdigit()), 0)
        return block % every_block == 0

    measures = dict(step.measures)
    for key, value in step.measures.items():
        if isinstance(value, UpdateSpectra | Gradients):
            indices = [i for i, layer in enumerate(value.layers) if is_kept(layer)]
            arrays = {name: array[:, indices] for name, array in vars(value).items() if name != "layers"}
            measures[key] = replace(value, layers=tuple(value.layers[i] for i in indices), **arrays)
        elif isinstance(value, Factors):
            measures[key] = value.only(layers)
    return replace(step, measures=measures)


def _device(device: torch.device) -> str:
    """Describe the device, its kind first."""
    if device.type != "cpu":
        return device_words(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    return f"CPU, {processor}, {counted(torch.get_num_threads(), 'thread')}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
