"""The memory of one lane's passes: the estimate that a race relies on, and the measured peak.

Every case runs in a process of its own, on a model with random weights, which need as much memory as any. The pass
runs once on a tiny batch, then on the whole one: its peak is the most resident memory meanwhile (Linux's VmHWM), less
what was resident before. Then the estimate is made. It should be between one and two times the peak where that is
above 200 MB.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch
import transformers as hf

from olora_viz.lanes.adapters import Lanes, attach_planned
from olora_viz.lanes.calibration import calibration_bytes, gather
from olora_viz.lanes.generation import answer_cost, greedy
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.memory import Footprint
from olora_viz.lanes.plan import AdapterPlan, plan_adapters
from olora_viz.measures.curvature import TRACKED, curvature, product_bytes
from olora_viz.measures.spectra import decomposition_bytes, singular_values
from olora_viz.tasks import Encoded, collate
from olora_viz.tasks.batches import Size
from olora_viz.tasks.evaluation import evaluate
from olora_viz.tasks.losses import lane_losses

MODELS = {
    "glassllm": partial(
        hf.LlamaConfig, vocab_size=1024, hidden_size=128, intermediate_size=341,
        num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, tie_word_embeddings=True,
    ),
    "SmolLM2-135M": partial(
        hf.LlamaConfig, vocab_size=49152, hidden_size=576, intermediate_size=1536,
        num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        max_position_embeddings=8192, tie_word_embeddings=True,
    ),
    "GPT-2": hf.GPT2Config,
    "Qwen2, 8 layers": partial(
        hf.Qwen2Config, vocab_size=151936, hidden_size=896, intermediate_size=4864,
        num_hidden_layers=8, num_attention_heads=14, num_key_value_heads=2,
        tie_word_embeddings=True,
    ),
}  # fmt: skip

SIZES = {
    "training": [Size(4, 128, 64), Size(4, 384, 512)],
    "evaluation": [Size(16, 128, 512), Size(16, 256, 2048)],
    "curvature": [Size(2, 64, 32), Size(2, 192, 64)],
    "calibration": [Size(4, 128, 64), Size(4, 384, 512)],
    "answers": [Size(32, 200, 32), Size(32, 400, 32)],
}
"""The sizes of the batches; prompts of an answer get four more tokens."""

TIMES = {"glassllm": 8}
"""Factors of the rows, where a model is so small that its peaks would say nothing."""

RANK = 16
ADDED = 4


def examples(size: Size, vocabulary: int) -> list[Encoded]:
    """Make random examples that collate to a size."""
    drawn = random.Random(0)
    answer = size.supervised // size.rows
    return [
        Encoded(tuple(drawn.randrange(vocabulary) for _ in range(size.width + 1)), size.width + 1 - answer)
        for _ in range(size.rows)
    ]


def resident(what: str) -> int:
    """Return a line of this process's memory, in bytes."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(rf"{what}:\s*(\d+)", text)[1])


def peak_of(run: Callable[[], object]) -> int:
    """Return the most memory that a call takes beyond what is resident."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def passes(kind: str, plan: AdapterPlan, size: Size) -> tuple[Callable[[Size], object], Callable[[], float]]:
    """Return a pass as a function of its size, and its estimate for this one."""
    model = plan.model
    vocabulary = model.get_input_embeddings().weight.shape[0]
    batch = lambda size: collate(examples(size, vocabulary), 0)  # noqa: E731
    lanes: Lanes | None = None if kind == "calibration" else attach_planned(plan)

    def estimated(of: Callable[[], float]) -> Callable[[], float]:
        def without_lanes() -> float:
            if lanes:
                lanes.detach()
            return of()

        return without_lanes

    if kind == "training":
        return (
            lambda size: lane_losses(model, batch(size), 1).sum().backward(),
            estimated(lambda: Footprint.of(plan).training.bytes(size)),
        )
    if kind == "evaluation":
        return (
            lambda size: evaluate(model, examples(size, vocabulary), 1, pad_id=0, batch_size=size.rows),
            estimated(lambda: Footprint.of(plan).evaluation.bytes(size)),
        )
    if kind == "curvature":
        assert lanes

        def measure(size: Size) -> None:
            its = batch(size)
            curvature(lanes, lambda: lane_losses(model, its, 1), steps=TRACKED, probes=0)

        return measure, estimated(lambda: product_bytes(plan, size, TRACKED))
    if kind == "calibration":
        return (
            lambda size: gather(plan.model, plan.calibrated, [[batch(size)]], plan.needs),
            estimated(lambda: Footprint.of(plan).training.bytes(size) + calibration_bytes(plan)),
        )

    def answer(size: Size) -> None:
        prompts = [example.ids[:-1] for example in examples(size, vocabulary)]
        greedy(model, prompts, ADDED, 1, 0)

    whole = size._replace(width=size.width + ADDED)
    return answer, estimated(lambda: answer_cost(plan).bytes(whole))


def measure(name: str, kind: str, which: int) -> dict:
    """Measure one case in this process."""
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(MODELS[name]()).eval()
    model.requires_grad_(False)
    if kind == "spectra":
        layers = [W for W in model.parameters() if W.dim() == 2]
        W = sorted(layers, key=torch.numel)[-1 - which * (len(layers) - 1) // 2]
        singular_values(torch.randn(64, 64))
        found = {"of": f"{W.shape[0]} × {W.shape[1]}", "peak": peak_of(lambda: singular_values(W))}
        return found | {"estimate": decomposition_bytes(W)}
    size = SIZES[kind][which]
    size = Size(size.rows * TIMES.get(name, 1), size.width, size.supervised * TIMES.get(name, 1))
    if (context := model.config.max_position_embeddings) < size.width + ADDED:
        times = size.width // (context - ADDED) + 1
        size = Size(size.rows * times, context - ADDED, size.supervised)
    inits = ("lora_ga", "eva") if kind == "calibration" else ("olora",)
    plan = plan_adapters(model, [Lane(init, r=RANK) for init in inits])
    run, estimate = passes(kind, plan, size)
    run(Size(2, 4, 2))
    of = f"{size.rows} × {size.width}, {size.supervised}"
    return {"of": of, "peak": peak_of(partial(run, size)), "estimate": estimate()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--kinds", nargs="+", default=[*SIZES, "spectra"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.json:
        print("| model | pass | rows × tokens, supervised | peak MB | estimate MB | estimate / peak |")
        print("|---|---|---|---|---|---|")
    for name in options.models:
        for kind in options.kinds:
            for which in range(2):
                with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as its_own:
                    row = its_own.submit(measure, name, kind, which).result()
                if options.json:
                    print(json.dumps({"model": name, "pass": kind, **row}), flush=True)
                    continue
                peak, estimate = row["peak"], row["estimate"]
                print(
                    f"| {name} | {kind} | {row['of']} | {peak / 1e6:.0f} | {estimate / 1e6:.0f} | "
                    f"{estimate / peak:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
