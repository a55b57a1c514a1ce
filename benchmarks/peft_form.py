"""The runs of a study, trained again by PEFT: what its form of a start does in the dtype of the base.

PEFT stores W − s B⁰A⁰ in the dtype of the base, which rounds it, where a race keeps W and subtracts s B⁰A⁰ from the
adapter's product. In float32 both come to the same but for rounding. Every run of the study at the rates given is
trained by PEFT on the same batches, with the same optimizer, and tested on the same examples.

    python benchmarks/peft_form.py STUDY [--rates 1e-5 1e-4 …] [--json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import peft
import torch

from olora_viz.machine.memory import DTYPES
from olora_viz.models import load_model
from olora_viz.races.data import ModelCache, RaceData
from olora_viz.races.own_loop import training_batches
from olora_viz.studies.folder import verdicts
from olora_viz.studies.study import Study, Trial
from olora_viz.tasks import load_task

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def trained(study: Study, trial: Trial) -> float:
    """Train a run of a study with PEFT, and return its test loss in nats."""
    config = study.config([trial])
    network, tokenizer = load_model(config.model, dtype=DTYPES[study.fixed().race.dtype])
    data = RaceData(config, load_task(config.task, split_seed=config.split_seed), network, tokenizer, ModelCache())
    lane = config.lanes[0]
    torch.manual_seed(lane.seed)
    start = True if trial.method == "lora" else trial.method
    adapter = peft.LoraConfig(r=lane.r, lora_alpha=lane.r, target_modules=TARGETS, init_lora_weights=start)
    model = peft.get_peft_model(network, adapter)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lane.lr, weight_decay=0.0)
    for batch in training_batches(config, tokenizer, lane):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return float(data.evaluate(test=True).loss[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--rates", type=float, nargs="+", help="by default all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    known = verdicts(options.study)
    dtype = known.study.fixed().race.dtype
    for init in known.study.compare:
        for lr in options.rates or known.study.lrs:
            trials = [trial for trial in known.rows if (trial.method, trial.lr) == (init, lr)]
            ours = np.array([known.rows[trial]["test_loss"] for trial in trials])
            theirs = np.array([trained(known.study, trial) for trial in trials])
            row = {"init": init, "lr": lr, "dtype": dtype, "ours": ours.tolist(), "peft": theirs.tolist()}
            if options.json:
                print(json.dumps(row), flush=True)
            else:
                print(f"{init:8} {lr:.0e} {dtype}: ours {ours.mean():.3f}, PEFT {theirs.mean():.3f}", flush=True)


if __name__ == "__main__":
    main()
