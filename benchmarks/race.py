"""One race of K lanes against K trainings with PEFT: time per lane and step, and peak memory.

Both sides train the same adapters (rank 16 on all linear layers inside the blocks, AdamW) on the same batches of the
same task, side by side in one run; each measurement has a process of its own, so that its peak memory is its own too.
PEFT's trainings run one after another, as they would in practice, so one of them is timed: K of them take K times as
long, and as much memory as one.

    python benchmarks/race.py [--model smollm2-135m] [--lanes 1 4 15] [--device cpu] [--json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from olora_viz.lanes.lane import Lane
from olora_viz.machine.memory import resolve_dtype
from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race
from olora_viz.tasks import batch_indices, encode, load_task
from olora_viz.tasks.losses import context_of

RANK = 16
WARM_UP = 1
LEARNING_RATE = 1e-4


def write_task(folder: Path, model: str, shots: int, examples: int = 64) -> tuple[Path, int]:
    """Write prompts with solved examples in front, as many as fit into the model's context.

    Seven make about 70 tokens for SmolLM2.
    """
    network, tokenizer = load_model(model)
    context = context_of(network) or sys.maxsize
    pool = load_task("number-words").train
    path = folder / "task.jsonl"
    for count in range(shots, -1, -1):
        with path.open("w", encoding="utf-8") as lines:
            for i in range(examples):
                *solved, asked = (pool[(i * count + j) % len(pool)] for j in range(count + 1))
                prompt = "".join(f"{e.prompt}{e.answer}. " for e in solved) + asked.prompt
                lines.write(json.dumps({"prompt": prompt, "answer": asked.answer}) + "\n")
        task = load_task(path)
        rows = [*task.train, *task.held_out]
        if not encode(rows, tokenizer, max_length=context, context=context, ends=task.ends).left_out:
            return path, count
    raise ValueError(f"{model!r} reads {context} tokens, too few for a single example")


def peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ours(options: argparse.Namespace) -> dict:
    inits = ("olora", "lora", "gaussian", "random_orthonormal")
    config = RaceConfig(
        model=options.model,
        task=options.task,
        lanes=tuple(Lane(inits[k % 4], lr=LEARNING_RATE, r=RANK, seed=k) for k in range(options.K)),
        steps=WARM_UP + options.steps + 2,  # the last step evaluates; it is never reached
        batch_size=options.batch_size,
        eval_every=0,
        eval_size=1,
        device=options.device,
        dtype=options.dtype,
    )
    running = race(config)
    for _ in range(WARM_UP):
        next(running)
    wait(running.device)
    began = time.perf_counter()
    steps = [next(running) for _ in range(options.steps)]
    wait(running.device)
    seconds = time.perf_counter() - began
    result = {"seconds": seconds, "loss": steps[-1].loss.tolist()}
    result["peak"] = peak_bytes(running.device)
    result["where"] = where_time_goes(running)
    return result


def where_time_goes(running) -> dict[str, float]:
    """Return the share of each kind of work in one step, from torch's profiler."""
    kinds = {
        "base products": ("aten::mm", "aten::addmm", "aten::addmm_", "aten::linear", "mkldnn::_linear_pointwise"),
        "adapter products": ("aten::bmm", "aten::baddbmm"),
        "attention": ("attention",),
        "optimizer": ("adamw",),
    }
    activities = [ProfilerActivity.CPU]
    if running.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        next(running)
    spent = dict.fromkeys([*kinds, "the rest"], 0.0)
    for event in profiler.key_averages():
        own = event.self_device_time_total or event.self_cpu_time_total
        kind = next((k for k, keys in kinds.items() if any(x in event.key for x in keys)), None)
        spent[kind or "the rest"] += own
    total = sum(spent.values())
    return {kind: own / total for kind, own in spent.items()}


def theirs(options: argparse.Namespace) -> dict:
    import peft  # here, so that our side neither loads nor holds it

    device = torch.device("cuda" if options.device == "cuda" else "cpu")
    dtype = resolve_dtype(options.dtype, device)
    model, tokenizer = load_model(options.model, device=device, dtype=dtype)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = peft.LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=targets, task_type="CAUSAL_LM", init_lora_weights=True
    )
    trained = peft.get_peft_model(model, config)
    parameters = [p for p in trained.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    task = load_task(options.task)
    context = model.config.max_position_embeddings
    train = encode(task.train, tokenizer, context=context, ends=task.ends).kept
    began = 0.0
    loss = torch.zeros(())
    for step in range(WARM_UP + options.steps):
        if step == WARM_UP:
            wait(device)
            began = time.perf_counter()
        chosen = batch_indices(len(train), options.batch_size, 0, step)
        rows = [train[i] for i in chosen]
        width = max(len(row.ids) for row in rows)
        input_ids = torch.full((len(rows), width), int(tokenizer.pad_token_id or 0))
        labels = torch.full_like(input_ids, -100)
        for k, row in enumerate(rows):
            ids = torch.tensor(row.ids)
            input_ids[k, : len(ids)] = ids
            labels[k, row.supervised_from : len(ids)] = ids[row.supervised_from :]
        optimizer.zero_grad()
        out = trained(input_ids=input_ids.to(device), labels=labels.to(device))
        loss = out.loss
        loss.backward()
        optimizer.step()
    wait(device)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "loss": [loss.item()], "peak": peak_bytes(device)}


def apart(run: Callable[..., Any], *given: Any) -> Any:
    """Call a function in a fork of this process, which has done nothing but load libraries."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(run, *given).result()


def measure(side: str, K: int, dtype: str, task: Path, options: argparse.Namespace) -> dict:
    """Run one measurement in a process of its own."""
    its = argparse.Namespace(**vars(options), K=K, dtype=dtype, task=task)
    result = apart(ours if side == "ours" else theirs, its)
    seconds = result["seconds"] / options.steps / K
    print(f"{side}, {K} lanes, {dtype}: {seconds:.2f} s per lane and step", file=sys.stderr)
    return {
        "side": side,
        "lanes": K,
        "dtype": dtype,
        "ms_per_lane_step": 1000 * seconds,
        "peak_mib": result["peak"] / 2**20,
        "where": result.get("where"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 4, 15])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--shots", type=int, default=7, help="solved examples in a prompt, as far as they fit")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        task, shots = apart(write_task, Path(folder), options.model, options.shots)
        print(f"{shots} solved examples in each prompt", file=sys.stderr)
        rows = []
        for dtype in options.dtypes:
            rows.append(measure("peft", 1, dtype, task, options))
            rows.extend(measure("ours", K, dtype, task, options) for K in options.lanes)
    reference = {row["dtype"]: row["ms_per_lane_step"] for row in rows if row["side"] == "peft"}
    for row in rows:
        row["times_faster"] = reference[row["dtype"]] / row["ms_per_lane_step"]
        row["times_faster_than_peft_float32"] = reference.get("float32", float("nan")) / row["ms_per_lane_step"]
    if options.json:
        for row in rows:
            print(json.dumps(row))
        return
    print(f"{options.model}, rank {RANK}, {options.batch_size} prompts a step, {options.device}, ")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, peft {version('peft')}")
    print(f"{'':18}{'dtype':10}{'ms/lane/step':>13}{'× PEFT':>8}{'× PEFT f32':>12}{'peak MiB':>10}")
    for row in rows:
        what = "PEFT, one by one" if row["side"] == "peft" else f"{row['lanes']} lanes"
        print(
            f"{what:18}{row['dtype']:10}{row['ms_per_lane_step']:13.0f}{row['times_faster']:8.2f}"
            f"{row['times_faster_than_peft_float32']:12.2f}{row['peak_mib']:10.0f}"
        )
    for row in rows:
        if row["where"]:
            shares = ", ".join(f"{kind} {share:.0%}" for kind, share in row["where"].items())
            print(f"{row['lanes']} lanes, {row['dtype']}: {shares}")


if __name__ == "__main__":
    main()
