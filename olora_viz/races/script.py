"""The code of a race: scripts that repeat it, made from a template and the race's settings."""

from __future__ import annotations

from dataclasses import fields, replace
from importlib.resources import files
from typing import Any

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import names_experts
from olora_viz.lanes.schedule import plain as plain_schedule
from olora_viz.models import MODELS
from olora_viz.models.offline import LANGUAGES
from olora_viz.races.config import RaceConfig
from olora_viz.races.fields import FLOAT, IMITATION
from olora_viz.tasks.keep import NONE
from olora_viz.tasks.metrics import plain_metric
from olora_viz.tasks.task import Task

PEFT_STARTS: dict[str, Any] = {"lora": True} | {
    name: name for name in ("gaussian", "olora", "pissa", "orthogonal", "mica")
}
"""Starts that PEFT computes as we do, up to signs that cancel, with PEFT's names.

PEFT also has ``pissa_niter_6``, EVA, CorDA and LoRA-GA, but with its own random numbers or data, which would make a
different lane.
"""

CONV1D = ("gpt2", "distilgpt2")
"""Models with GPT-2's layers, whose OLoRA start PEFT computes from the wrong side of W."""

NOT_ON_THE_HUB = (*LANGUAGES, "smollm2-135m")
"""Models whose weights come from a package; SmolLM2's are 4-bit weights if the hub is unreachable."""

ALWAYS = ("model", "task", "steps", "batch_size", "seed", "eval_every", "dtype")
"""Settings that a script states even if they are the default."""


def olora_viz_script(config: RaceConfig) -> str:
    """Return a script that repeats a race with this package, bitwise on the same machine."""
    return _filled("with_olora_viz", _config(config))


def peft_script(config: RaceConfig, rows: Task | None = None) -> str:
    """Return a script that trains a race's lanes one by one with PEFT.

    Args:
        rows: the task whose training rows the file ``config.task`` beside the script holds; None for a task that is
            loaded by its name or path.

    Raises:
        ValueError: a lane asks for a fair rate, which is not a number yet, is full fine-tuning, has `Lane.dim` or
            replays a text; a target is experts'; or the set-up has epochs, or another objective than imitation with
            rows, which have right answers alone.
    """
    if config.epochs is not None:
        raise ValueError("the set-up has epochs: give that of its race, which has steps")
    if config.base != FLOAT:
        raise ValueError(f"the script with PEFT cannot keep the base in {config.base}; the script with olora_viz can")
    if rows and config.objective != IMITATION:
        raise ValueError(
            f"a recipe's rows are right answers, and the objective {config.objective} learns from more: the race "
            "itself has a script with PEFT"
        )
    targets = [name for lane in config.lanes for name in lane.targets or config.targets or ()]
    for target in filter(names_experts, targets):
        raise ValueError(
            f"the script with PEFT cannot start adapters on experts, as the target {target!r} "
            "wants; the script with olora_viz can, and the lanes themselves export to PEFT's format"
        )
    for lane, label in zip(config.lanes, config.labels, strict=True):
        if lane.is_dense:
            raise ValueError(
                f"the script with PEFT cannot train lane {label!r}, since full fine-tuning has no "
                "adapter; the script with olora_viz can"
            )
        if lane.dim is not None:
            raise ValueError(
                f"the script with PEFT cannot train lane {label!r} along {lane.dim} directions; the script with "
                "olora_viz can"
            )
        if (lane.opt == "sgd" and lane.weight_decay) or (lane.opt == "riemannian" and lane.lora_plus != 1):
            raise ValueError(
                f"the script with PEFT cannot train lane {label!r}: its {lane.opt} has no "
                f"{'decoupled weight decay' if lane.weight_decay else 'rate of its own for B'}; the script with "
                "olora_viz can"
            )
        if lane.replays:
            raise ValueError(
                f"the script with PEFT cannot train lane {label!r} with {lane.replay_words}; the script with "
                "olora_viz can"
            )
        if lane.fair or lane.params is not None:
            what = "fair rate" if lane.fair else "number of parameters"
            raise ValueError(f"lane {label!r} asks for a {what}: give the set-up of the race that found it")
    starts = "".join(f"    {peft_start(config, lane)!r},\n" for lane in config.lanes)
    device = (
        "(torch.accelerator.current_accelerator(check_available=True) or torch.device('cpu')).type"
        if config.device == "auto"
        else repr(config.device)
    )
    by_device = 'torch.float32 if DEVICE in ("cpu", "mps") else torch.bfloat16'
    dtype = by_device if config.dtype == "auto" else f"torch.{config.dtype}"
    last = "# Every lane trains to the last step here, and keeps that adapter.\n"
    settings = (
        f"{last * config.follows_best}{_config(replace(config, keep=NONE))}\n"
        "# PEFT's init_lora_weights for each lane; None if PEFT lacks the start or computes it\n"
        "# wrongly for these weights: olora_viz then computes A and B.\n"
        f"STARTS = (\n{starts})\n"
        f"DEVICE = {device}\nDTYPE = {dtype}\nROWS = {rows and (config.task, rows.plain_text, rows.ends)}\n"
        '# Whether the adapter, of the only lane, is saved in the folder "adapter".\n'
        f"SAVES = {rows is not None}\n\n\n"
        f"{_load(config)}\n\n"
    )
    text = _filled("with_peft", settings)
    others = any(lane.opt != Lane.opt for lane in config.lanes)
    text = _replaced(text, "objective", "with_peft" if config.objective == IMITATION else config.objective)
    return _replaced(text, "optimizer", "optimizers" if others else "with_peft")


def _replaced(text: str, mark: str, template: str) -> str:
    """Return a script with another template's part in place of its own."""
    before, _, after = _parts(text, mark)
    return f"{before}{_parts(_template(template), mark)[1].rstrip()}\n{after}"


def _filled(template: str, settings: str) -> str:
    """Return a template with a race's settings in place of its own."""
    before, _, after = _parts(_template(template), "settings")
    return f"{before}{settings.rstrip()}\n{after}"


def _template(name: str) -> str:
    return files("olora_viz.races.templates").joinpath(f"{name}.py").read_text("utf-8")


def _parts(text: str, mark: str) -> tuple[str, str, str]:
    """Return what is before, between and after the comments that mark a part of a template."""
    before, rest = text.split(f"# {mark.capitalize()}\n")
    between, after = rest.split(f"# End of {mark}\n")
    return before, between, after


def _config(config: RaceConfig) -> str:
    config = replace(config, schedule=plain_schedule(config.schedule), metric=plain_metric(config.metric))
    plain = RaceConfig()
    always = [name for name in ALWAYS if name != "steps" or config.epochs is None]
    given = "".join(
        f"    {field.name}={getattr(config, field.name)!r},\n"
        for field in fields(RaceConfig)
        if field.name != "lanes"
        and (field.name in always or getattr(config, field.name) != getattr(plain, field.name))
    )
    lanes = "".join(f"        ov.{_call(lane)},\n" for lane in config.lanes)
    chat = (
        "# The lanes read prompts in the model's chat template. So does what uses an adapter:\n"
        "# tokenizer.apply_chat_template(messages, add_generation_prompt=True).\n"
    )
    return f"{chat * config.chat}CONFIG = ov.RaceConfig(\n{given}    lanes=(\n{lanes}    ),\n)"


def _call(lane: Lane) -> str:
    """Write a lane as Python, with its non-default values and those that readers look for.

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


def peft_start(config: RaceConfig, lane: Lane) -> Any:
    """Return PEFT's name of a lane's start; None if PEFT lacks it or computes it wrongly."""
    turned = config.model in (*CONV1D, *(MODELS[name].hub_id for name in CONV1D))
    local = config.model not in MODELS and config.model not in {m.hub_id for m in MODELS.values()}
    if lane.init == "olora" and (turned or local):
        return None
    if config.dtype == "float64" and lane.init in ("olora", "pissa", "mica"):
        return None
    return PEFT_STARTS.get(lane.init)


def source_of(config: RaceConfig) -> str | None:
    """Return the model's name on the hub or its folder; None if its weights come from a package."""
    if config.model in NOT_ON_THE_HUB:
        return None
    return MODELS[config.model].hub_id if config.model in MODELS else config.model


def _load(config: RaceConfig) -> str:
    """Write the function that loads the base model, with transformers if possible."""
    head = 'def load():\n    """Return the base model, on the CPU, and its tokenizer."""\n'
    source = source_of(config)
    if source is None:
        return f"{head}    return ov.load_model({config.model!r}, device='cpu', dtype=DTYPE)\n"
    return (
        f"{head}"
        "    from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"    tokenizer = AutoTokenizer.from_pretrained({source!r})\n"
        "    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token\n"
        f"    return AutoModelForCausalLM.from_pretrained({source!r}, dtype=DTYPE), tokenizer\n"
    )
