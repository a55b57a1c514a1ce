"""The code of a race: short scripts that repeat it, with this package and with PEFT."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane
from olora_viz.models import MODELS
from olora_viz.races.config import RaceConfig

PEFT_STARTS: dict[str, Any] = {
    "lora": True,
    "gaussian": "gaussian",
    "olora": "olora",
    "pissa": "pissa",
    "orthogonal": "orthogonal",
    "mica": "mica",
}
"""Starts that PEFT makes as we do, up to signs that cancel, and its names of them.

PEFT also has ``pissa_niter_6``, EVA, CorDA and LoRA-GA, but from random numbers or data of its own:
a lane that starts from those would be another lane.
"""


CONV1D = ("gpt2", "distilgpt2")
"""Models of GPT-2's layers, whose OLoRA start PEFT computes from the wrong side of W."""

_ALWAYS = ("model", "task", "steps", "batch_size", "seed", "eval_every", "dtype")


def olora_viz_script(config: RaceConfig) -> str:
    """Return a script that repeats a race with this package, bitwise on the same machine."""
    lanes = "".join(f"        ov.{_call(lane)},\n" for lane in config.lanes)
    plain = RaceConfig()
    given = "".join(
        f"    {field.name}={getattr(config, field.name)!r},\n"
        for field in fields(RaceConfig)
        if field.name != "lanes"
        and (field.name in _ALWAYS or getattr(config, field.name) != getattr(plain, field.name))
    )
    return f'''"""Repeats a race with olora_viz.

The losses are the same bit for bit on the same machine with as many threads (OMP_NUM_THREADS);
elsewhere they are the same up to rounding.
"""

import olora_viz as ov

config = ov.RaceConfig(
{given}    lanes=(
{lanes}    ),
)
race = ov.race(config)
for step in race:
    print(step.step, *(f"{{label}} {{loss:.6f}}" for label, loss in zip(config.labels, step.loss)))
    if step.eval_loss is not None:
        print("  held out", dict(zip(config.labels, step.eval_loss.round(4).tolist())))

# To keep a lane as a PEFT adapter: ov.write_peft(race.lanes, 0, "my-adapter")
'''


def peft_script(config: RaceConfig) -> str:
    """Return a script that trains a race's lanes one by one with PEFT.

    Raises
    ------
    ValueError : a lane asks for a fair rate, which is not a number yet.
    """
    for lane, label in zip(config.lanes, config.labels, strict=True):
        if lane.fair:
            raise ValueError(
                f"lane {label!r} asks for a fair rate: give the set-up of the race that found it"
            )
    own = {label: _start(config, lane) for lane, label in _labelled(config)}
    lanes = "".join(
        f"    ({label!r}, {_call(lane)}, {own[label]!r}),{_why(lane, own[label])}\n"
        for lane, label in _labelled(config)
    )
    calibration = _calibration(config)
    targets = list(config.targets) if config.targets is not None else None
    order = "SEED + lane.seed" if config.batches == "by-seed" else "SEED"
    return f'''"""Trains the lanes of a race one by one, with peft, transformers and torch.

The same batches and settings as in the race; olora_viz brings the task's examples and their order.
The losses agree with the race's up to rounding (float32: about 1e-3 over some steps).
"""

import zlib

import peft
import torch
import torch.nn.functional as F
{_model_import(config)}
from olora_viz.lanes.starts import start_of
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import is_transposed, target_layers, weight_of
from olora_viz.tasks.losses import context_of
from olora_viz.tasks import batch_indices, collate, encode, load_task

# Each lane: its label, its settings, and PEFT's name of its start (None: PEFT has none alike, and
# A and B are written from olora_viz's).
LANES = [
{lanes}]
STEPS, BATCH, SEED = {config.steps}, {config.batch_size}, {config.seed}
device = {_device(config)}
dtype = {_dtype(config)}
task = load_task({config.task!r}, SEED)


{_loading(config)}


def batch(step, examples, pad, seed=SEED):
    """The batch of a step, 1 for the first, in the order of a seed."""
    chosen = batch_indices(len(examples), BATCH, seed, step - 1)
    return collate([examples[i] for i in chosen], pad)


def loss_of(model, batch):
    """Cross-entropy at the supervised tokens. Padding stands behind them: no mask is needed."""
    logits = model(input_ids=batch.input_ids.to(device), use_cache=False).logits
    logits = logits.flatten(0, 1)[batch.index.to(device)]
    return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)),
                           batch.targets.to(device))


{_rate(config)}


for label, lane, start in LANES:
    model, tokenizer = load()
    layers = list(target_layers(model, {targets!r}))
    encoded = encode(task.train, tokenizer, max_length={config.max_length!r},
                     context=context_of(model) or 2**31, ends=task.ends,
                     plain_text=task.plain_text, choices=False)
    pad = tokenizer.pad_token_id or 0
    calibration = {calibration}
    model = peft.get_peft_model(model, peft.LoraConfig(
        r=lane.r, lora_alpha=lane.r if lane.alpha is None else lane.alpha, use_rslora=lane.rslora,
        target_modules=layers, init_lora_weights=True if start is None else start,
        fan_in_fan_out=is_transposed(model.get_submodule(layers[0])), task_type="CAUSAL_LM",
    ))
    for name in layers:
        layer = model.base_model.model.get_submodule(name)
        # The random numbers of a start belong to the lane's seed and the layer's name.
        torch.manual_seed(zlib.crc32(f"{{lane.seed}} {{name}}".encode()))
        if start is True or start == "gaussian":
            layer.reset_lora_parameters("default", start)
        elif start == "orthogonal":
            layer.orthogonal_init("default")
        elif start is None:
            W = weight_of(layer.base_layer).data
            A, B = (lambda made: (made.A, made.B))(start_of(name, W, lane, calibration.get(name)))
            # W - s B0 A0 is frozen, so that the first step sees the base's own function.
            W.copy_(W.to(A.dtype) - lane.scale * B @ A)
            layer.lora_A["default"].weight.data = A.clone()
            layer.lora_B["default"].weight.data = B.clone()
    if device == "cuda":
        model.to(device)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lane.lr, weight_decay=lane.weight_decay, fused=True)
    model.eval()  # no dropout, as in the race
    for step in range(1, STEPS + 1):
        optimizer.param_groups[0]["lr"] = lane.lr * share_of_rate(step)
        optimizer.zero_grad()
        loss = loss_of(model, batch(step, encoded.kept, pad, {order}))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, lane.clip or float("inf"))
        optimizer.step()
        print(f"{{label}} step {{step}} loss {{loss.item():.6f}} gradient {{norm.item():.6f}}")
    # model.save_pretrained("my-adapter"). Mind that after OLoRA's and PiSSA's start PEFT's
    # disable_adapter() and unload() give W - s B0 A0, not the base model.
'''


def _labelled(config: RaceConfig) -> list[tuple[Lane, str]]:
    return list(zip(config.lanes, config.labels, strict=True))


def _call(lane: Lane) -> str:
    """Write a lane as Python, with what is not the default and what people look for.

    >>> _call(Lane("olora", lr=3e-3, alpha=16.0))
    "Lane('olora', lr=0.003, r=8, alpha=16.0)"
    """
    plain = Lane(lane.init)
    given = [
        f"{field.name}={getattr(lane, field.name)!r}"
        for field in fields(Lane)
        if field.name in ("lr", "r")
        or (field.name != "init" and getattr(lane, field.name) != getattr(plain, field.name))
    ]
    return f"Lane({lane.init!r}, {', '.join(given)})"


def _start(config: RaceConfig, lane: Lane) -> Any:
    """Return PEFT's name of a lane's start; None where PEFT has none, or gets it wrong."""
    turned = config.model in (*CONV1D, *(MODELS[name].hub_id for name in CONV1D))
    local = config.model not in MODELS and config.model not in {m.hub_id for m in MODELS.values()}
    if lane.init == "olora" and (turned or local):
        return None
    if config.dtype == "float64" and lane.init in ("olora", "pissa", "mica"):
        return None
    return PEFT_STARTS.get(lane.init)


def _why(lane: Lane, own: Any) -> str:
    """Say behind a lane why its start is not PEFT's."""
    if own is not None:
        return ""
    if lane.init not in PEFT_STARTS:
        return "  # PEFT has no start like it"
    return "  # PEFT's start would fail or be wrong on these weights"


def _calibration(config: RaceConfig) -> str:
    if not any(INITIALIZERS[lane.init].needs for lane in config.lanes):
        return "{}  # no start looks at the data"
    return "calibration_of(model, lane, encoded.kept, pad)"


def _device(config: RaceConfig) -> str:
    if config.device != "auto":
        return repr(config.device)
    return '"cuda" if torch.cuda.is_available() else "cpu"'


def _dtype(config: RaceConfig) -> str:
    if config.dtype != "auto":
        return f"torch.{config.dtype}"
    return 'torch.bfloat16 if device == "cuda" else torch.float32'


def _from_hub(config: RaceConfig) -> str:
    """Return what transformers loads the model by; empty for a model that it cannot load."""
    if config.model in ("glassllm", "smollm2-135m"):
        return ""
    return MODELS[config.model].hub_id if config.model in MODELS else config.model


def _model_import(config: RaceConfig) -> str:
    if not _from_hub(config):
        return "from olora_viz import load_model"
    return "from transformers import AutoModelForCausalLM, AutoTokenizer"


def _loading(config: RaceConfig) -> str:
    hub, given = _from_hub(config), ""
    if hub:
        loads = (
            f"    tokenizer = AutoTokenizer.from_pretrained({hub!r})\n"
            "    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token\n"
            f"    model = AutoModelForCausalLM.from_pretrained({hub!r}, dtype=dtype)\n"
            "    return model.to(device).eval(), tokenizer"
        )
    else:
        why = (
            "glassllm is on no hub: olora_viz makes a transformers model of the package's weights."
            if config.model == "glassllm"
            else "The weights that the race had: from the hub, or where that is out of reach,\n"
            "    # from a package of 4-bit ones."
        )
        loads = f"    # {why}\n    return load_model({config.model!r}, device=device, dtype=dtype)"
    if any(INITIALIZERS[lane.init].needs for lane in config.lanes):
        given = _GATHER.format(targets=config.targets)
    return f'def load():\n    """The base model, anew for every lane."""\n{loads}{given}'


_GATHER = '''


def calibration_of(model, lane, examples, pad):
    """What the race's first batches say, for a start that looks at them."""
    from olora_viz.lanes.calibration import BATCHES, gather_planned
    from olora_viz.lanes.plan import plan_adapters
    from olora_viz.tasks.losses import to_device

    plan = plan_adapters(model, [lane], {targets!r})
    if not plan.needs:
        return {{}}
    first = [to_device(batch(i + 1, examples, pad), torch.device(device)) for i in range(BATCHES)]
    return gather_planned(plan, first)'''


def _rate(config: RaceConfig) -> str:
    """Write the schedule, as `RaceConfig.rates` has it."""
    after = {
        "constant": "1.0",
        "linear": "1.0 - past",
        "cosine": "0.5 * (1.0 + math.cos(math.pi * past))",
    }[config.schedule]
    lines = ['    """The schedule: what part of its rate a step has."""']
    if config.schedule == "cosine":
        lines.append("    import math\n")
    if config.warmup:
        lines += [f"    if step <= {config.warmup}:", f"        return step / {config.warmup}"]
    if config.schedule != "constant":
        lines.append(f"    past = (step - 1 - {config.warmup}) / (STEPS - {config.warmup})")
    return "\n".join(["def share_of_rate(step):", *lines, f"    return {after}"])
