"""Trains the lanes of a race one by one with PEFT, on the same examples in the same order.

The losses agree with those of the race up to rounding (in float32, about 1e-3 after some steps).
"""

import json
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import peft
import torch
from safetensors.torch import load_file, save_file

import olora_viz as ov

# Settings
CONFIG = ov.RaceConfig(lanes=(ov.Lane("lora"), ov.Lane("olora"), ov.Lane("milora")), steps=3)
# PEFT's init_lora_weights for each lane; None if PEFT lacks the start: olora_viz computes A and B.
STARTS = (True, "olora", None)
DEVICE = "cpu"
DTYPE = torch.float32
ROWS = None
# Whether the adapter, of the only lane, is saved in the folder "adapter".
SAVES = False


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


def adapt(model, tokenizer, lane, start, initial):
    """Add the adapter of a lane to the model, and write what it subtracts from the base into the folder `initial`."""
    factors = {}
    if start is None or lane.rank_by:
        race = ov.race(replace(CONFIG, lanes=(lane,), device="cpu"), model=model, tokenizer=tokenizer, task=TASK)
        lanes = race.lanes
        factors = {n: (lanes.factors(n, 0), lanes.start_factors(n, 0), lanes.magnitude(n, 0)) for n in lanes.layers}
        race.lanes.detach()
    ranks = {name: len(of_start.A) for name, (of_start, *_) in factors.items()}  # of layers that differ, see rank_by
    config = peft.LoraConfig(
        r=lane.r,
        lora_alpha=lane.lora_alpha,
        use_rslora=lane.rslora,
        lora_dropout=lane.dropout,
        rank_pattern=ranks,
        alpha_pattern={name: lane.scale * rank ** (0.5 if lane.rslora else 1) for name, rank in ranks.items()},
        target_modules=list(ranks or ov.target_layers(model, lane.targets or CONFIG.targets)),
        init_lora_weights=True if start is None else start,
        use_dora=lane.dora,
        task_type="CAUSAL_LM",
    )
    adapted = peft.get_peft_model(model, config)
    for name, layer in adapters(adapted):
        # In the race, a layer's random numbers depend on the lane's seed and the layer's name.
        torch.manual_seed(zlib.crc32(f"{lane.seed} {name}".encode()))
        if start is None:
            subtract(layer, factors[name][1], scale=lane.scale)
        elif start == "orthogonal":
            layer.orthogonal_init("default")
        elif start in (True, "gaussian"):
            layer.reset_lora_parameters("default", start)
    adapted.save_pretrained(initial)
    for name, layer in adapters(adapted) if start is None else ():
        set_factors(layer, factors[name][0])
        m = factors[name][2]
        if m is not None:
            layer.lora_magnitude_vector["default"].weight = torch.nn.Parameter(m.clone())
    return adapted


def adapters(adapted):
    """Return the layers with an adapter, by name."""
    layers = adapted.get_base_model().named_modules()
    return [(name, layer) for name, layer in layers if isinstance(layer, peft.tuners.lora.LoraLayer)]


def set_factors(layer, factors):
    """Give a layer A and B."""
    layer.lora_A["default"].weight.data = factors.A.clone()
    layer.lora_B["default"].weight.data = factors.B.clone()


def subtract(layer, subtracted, scale):
    """Subtract s B⁰A⁰ from W, as the race does, and give the layer these factors."""
    set_factors(layer, subtracted)
    base = layer.get_base_layer()
    moved = scale * subtracted.B @ subtracted.A
    W = base.weight.data
    W.copy_(W.to(moved.dtype) - (moved if isinstance(base, torch.nn.Linear) else moved.T))


def save(model, lane, initial, folder):
    """Save an adapter that loads onto the base model as it was: PEFT adds what the start has subtracted from it."""
    moved = not ov.INITIALIZERS[lane.init].zero_product
    model.save_pretrained(folder, path_initial_model_for_weight_conversion=initial if moved else None)
    if moved and lane.dora:  # PEFT adds what was subtracted to A and B, and leaves the magnitudes out
        file = Path(folder) / "adapter_model.safetensors"
        own = peft.get_peft_model_state_dict(model).items()
        save_file({**load_file(file), **{name: m.contiguous() for name, m in own if "magnitude" in name}}, file)


def switch_on_dropout(model):
    """Let the adapters drop inputs, by other random numbers than in the race."""
    for _, layer in adapters(model):
        layer.lora_dropout.train()


# Objective
def losses(model, tokenizer, lane):
    """Yield the loss of every step, the mean cross-entropy of the right answers' tokens, and report it."""
    for batch in ov.training_batches(CONFIG, tokenizer, lane, TASK, model):
        loss = model(**batch.to(DEVICE)).loss
        yield loss, loss


# End of objective


# Optimizer
def optimizer_of(model, lane, groups):
    """Return the optimizer of a lane; each of the groups has its own rate."""
    return torch.optim.AdamW(groups, betas=(lane.beta1, lane.beta2), weight_decay=lane.weight_decay)


# End of optimizer


def train(k, initial):
    """Train lane k and print its loss and gradient norm at every step.

    The folder `initial` is for what its start has subtracted from the base model.
    """
    lane = CONFIG.lanes[k]
    model, tokenizer = load()
    model = adapt(model, tokenizer, lane, STARTS[k], initial).to(DEVICE)
    model.eval()  # no dropout in the base, as in the race
    switch_on_dropout(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    of_B = {id(p) for name, p in model.named_parameters() if ".lora_A." not in name}  # and DoRA's magnitudes
    groups = [
        {"params": [p for p in trained if id(p) not in of_B], "ratio": 1.0},
        {"params": [p for p in trained if id(p) in of_B], "ratio": lane.lora_plus},
    ]
    optimizer = optimizer_of(model, lane, groups)
    trained = [p for p in trained if p.requires_grad]
    for step, (loss, reported) in enumerate(losses(model, tokenizer, lane), start=1):
        for group in optimizer.param_groups:
            group["lr"] = CONFIG.rates(step)[k] * group.get("ratio", 1.0)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, lane.clip or float("inf"))
        optimizer.step()
        print(f"{CONFIG.labels[k]} step {step} loss {reported.item():.6f} gradient {norm.item():.6f}")
    return model


def main() -> None:
    """Train all lanes, one after another."""
    for k, lane in enumerate(CONFIG.lanes):
        with tempfile.TemporaryDirectory() as initial:
            model = train(k, initial)
            if SAVES:
                save(model, lane, initial, "adapter")


if __name__ == "__main__":
    main()
