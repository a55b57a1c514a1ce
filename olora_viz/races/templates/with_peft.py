"""Trains the lanes of a race one by one with PEFT, on the same examples in the same order.

The losses agree with those of the race up to rounding (in float32, about 1e-3 after some steps).
"""

import json
import zlib
from dataclasses import replace
from pathlib import Path

import peft
import torch

import olora_viz as ov

# Settings
CONFIG = ov.RaceConfig(lanes=(ov.Lane("lora"), ov.Lane("olora"), ov.Lane("milora")), steps=3)
# PEFT's init_lora_weights for each lane; None if PEFT lacks the start: olora_viz computes A and B.
STARTS = (True, "olora", None)
DEVICE = "cpu"
DTYPE = torch.float32
ROWS = None


def load():
    """Return the base model, on the CPU, and its tokenizer."""
    return ov.load_model("glassllm", device="cpu", dtype=DTYPE)


# End of settings


def task_of(file, plain_text, ends):
    """Return the rows of a file beside this script as a task; the held-out one, which it must have, is not read."""
    with Path(__file__).with_name(file).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    train = tuple(
        ov.Example(row["prompt"], row["answer"], messages=tuple(map(tuple, row.get("messages", ())))) for row in rows
    )
    return ov.Task(file, "The training rows.", train, train[:1], plain_text=plain_text, ends=ends)


TASK = ROWS and task_of(*ROWS)


def adapt(model, tokenizer, lane, start):
    """Add the adapter of a lane to the model."""
    factors = {}
    if start is None:
        race = ov.race(replace(CONFIG, lanes=(lane,), device="cpu"), model=model, tokenizer=tokenizer, task=TASK)
        lanes = race.lanes
        factors = {n: (lanes.factors(n, 0), lanes.start_factors(n, 0)) for n in lanes.layers}
        race.lanes.detach()
    config = peft.LoraConfig(
        r=lane.r,
        lora_alpha=lane.lora_alpha,
        use_rslora=lane.rslora,
        lora_dropout=lane.dropout,
        target_modules=list(ov.target_layers(model, lane.targets or CONFIG.targets)),
        init_lora_weights=True if start is None else start,
        task_type="CAUSAL_LM",
    )
    adapted = peft.get_peft_model(model, config)
    for name, layer in adapted.get_base_model().named_modules():
        if not isinstance(layer, peft.tuners.lora.LoraLayer):
            continue
        # In the race, a layer's random numbers depend on the lane's seed and the layer's name.
        torch.manual_seed(zlib.crc32(f"{lane.seed} {name}".encode()))
        if start is None:
            set_start(layer, *factors[name], scale=lane.scale)
        elif start == "orthogonal":
            layer.orthogonal_init("default")
        elif start in (True, "gaussian"):
            layer.reset_lora_parameters("default", start)
    return adapted


def set_start(layer, start, subtracted, scale):
    """Initialize a layer with A and B, and subtract s B⁰A⁰ from W, as the race does."""
    layer.lora_A["default"].weight.data = start.A.clone()
    layer.lora_B["default"].weight.data = start.B.clone()
    base = layer.get_base_layer()
    moved = scale * subtracted.B @ subtracted.A
    W = base.weight.data
    W.copy_(W.to(moved.dtype) - (moved if isinstance(base, torch.nn.Linear) else moved.T))


def train(k):
    """Train lane k and print its loss and gradient norm at every step."""
    lane = CONFIG.lanes[k]
    model, tokenizer = load()
    model = adapt(model, tokenizer, lane, STARTS[k]).to(DEVICE)
    model.eval()  # no dropout in the base, as in the race
    for layer in model.modules():
        if isinstance(layer, peft.tuners.lora.LoraLayer):
            layer.lora_dropout.train()  # by other random numbers than in the race
    trained = [p for p in model.parameters() if p.requires_grad]
    of_B = {id(p) for name, p in model.named_parameters() if ".lora_B." in name}
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained if id(p) not in of_B], "ratio": 1.0},
            {"params": [p for p in trained if id(p) in of_B], "ratio": lane.lora_plus},
        ],
        betas=(lane.beta1, lane.beta2),
        weight_decay=lane.weight_decay,
    )
    batches = ov.training_batches(CONFIG, tokenizer, lane, TASK, model)
    for step, batch in enumerate(batches, start=1):
        for group in optimizer.param_groups:
            group["lr"] = CONFIG.rates(step)[k] * group["ratio"]
        optimizer.zero_grad()
        loss = model(**batch.to(DEVICE)).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, lane.clip or float("inf"))
        optimizer.step()
        print(f"{CONFIG.labels[k]} step {step} loss {loss.item():.6f} gradient {norm.item():.6f}")
    return model


def main() -> None:
    """Train all lanes, one after another."""
    for k in range(len(CONFIG.lanes)):
        train(k)
        # Save the adapter with save_pretrained("my-adapter"). With starts such as OLoRA or PiSSA,
        # PEFT's disable_adapter() and unload() restore W - s B A, not the base model.


if __name__ == "__main__":
    main()
