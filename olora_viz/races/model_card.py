"""The README of an adapter, in Markdown with the hub's front matter: how it was trained, on what, and its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.machine.files import read_json_object
from olora_viz.machine.wording import compact, counted, number
from olora_viz.models import MODELS
from olora_viz.races.config import RaceConfig, setup_facts
from olora_viz.races.data import model_name
from olora_viz.tasks import TASKS
from olora_viz.tasks.evaluation import boilerplate_in
from olora_viz.tasks.hub import HUB


def model_card(config: RaceConfig, k: int, summary: dict[str, Any], adapter: Path) -> str:
    """Return the README of lane k's adapter, in Markdown with the hub's front matter.

    It names no folder of this machine: of a path it has the last part.

    Args:
        adapter: the folder with the adapter in PEFT's format.
    """
    lane, label = config.lanes[k], config.labels[k]
    model, task, results = model_name(config), task_name(config), summary["lanes"][label]
    base, counts = summary["base"], summary["examples"]
    best_loss = results.get("best_loss") if config.keep_best else None
    of_boilerplate = base.get("boilerplate_loss"), None, results.get("final_boilerplate_loss")
    rows = [
        ("held-out loss", base["loss"], best_loss, results["final_loss"], ".4f"),
        (f"{boilerplate_in(summary)}, held out", *of_boilerplate, ".4f"),
        ("held-out accuracy", base["accuracy"], None, results["final_accuracy"], ".1%"),
        ("test loss", base.get("test_loss"), None, results.get("test_loss"), ".4f"),
        ("test accuracy", base.get("test_accuracy"), None, results.get("test_accuracy"), ".1%"),
    ]
    at_end = "of the last step" if config.keep_best else "with the adapter"
    last = summary["steps"] if config.keep_best else results.get("adapter_step", summary["steps"])
    if (evaluated := results.get("final_loss_step")) is not None and evaluated < last:
        at_end = f"at step {evaluated}, the last evaluation"
    table = "".join(
        f"| {what} | {number(before, form)} | "
        + (f"{number(best, form)} | " if config.keep_best else "")
        + f"{number(after, form)} |\n"
        for what, before, best, after, form in rows
        if before is not None
    )
    head = ["", "base model", *(["with the adapter"] if config.keep_best else []), at_end]
    return (
        f"{_front_matter(hub_id(config))}\n"
        f"# {label}: {model} on {task}\n\n"
        f"An adapter in PEFT's format that starts by {label_of(lane.init)}, trained on the task "
        f"{task!r} in a race of {counted(len(config.lanes), 'lane')} by olora_viz.\n\n"
        f"{_from_step(config, results, summary['steps'])}{_merged(summary)}\n\n"
        f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n{table}\n"
        f"{_forgot(config, summary, results)}"
        f"{_caveats(config, lane, counts)}\n\n"
        f"{_PROMPTS * config.chat}"
        f"## Set-up\n\n{_settings(config, lane, counts, adapter)}"
    )


_PROMPTS = """\
## Prompts

The adapter reads prompts in the chat template of its base model, and ends its answers with the
template's end-of-turn token:

```python
messages = [{"role": "user", "content": "…"}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True,
                                       return_tensors="pt")
model.generate(**inputs)
```

"""


def task_name(config: RaceConfig) -> str:
    """Return the name of a race's task; of a file its last part."""
    return config.task if config.task in TASKS or config.task.startswith(HUB) else Path(config.task).name


def hub_id(config: RaceConfig) -> str:
    """Return the base model's name on the hub; "" if it is not there, or not known."""
    if config.model in MODELS:
        return MODELS[config.model].hub_id or ""
    return "" if Path(config.model).expanduser().exists() else config.model


def _front_matter(base: str) -> str:
    lines = [f"base_model: {base}"] if base else []
    return "\n".join(["---", *lines, "library_name: peft", "tags:", "- lora", "- olora_viz", "---"])


def _from_step(config: RaceConfig, results: dict[str, Any], done: int) -> str:
    at, stopped_at = results.get("adapter_step", done), results.get("stopped_at")
    is_best = config.keep_best and results.get("best_step")
    best = ", the evaluation with the lowest held-out loss" if is_best else ""
    early = f"; the lane stopped early at step {stopped_at}" if stopped_at else ""
    return f"The adapter is that of step {at} of {config.steps}{best}{early}."


def _merged(summary: dict[str, Any]) -> str:
    """Say what else the adapter holds; empty if its lane started from the base model."""
    if not (count := summary.get("merged_races")):
        return ""
    return f" It also holds {counted(count, 'earlier race')}, merged into the lane's base before this one."


def _forgot(config: RaceConfig, summary: dict[str, Any], results: dict[str, Any]) -> str:
    """Say how much the adapter forgot, and of which text; empty if that was not measured."""
    text, loss, drift = summary.get("text"), results.get("final_text_loss"), results.get("final_drift")
    if not text or loss is None or drift is None:
        return ""
    limit = "" if config.forget is None else f" The limit was {config.forget:g} nats."
    base = text["loss"]
    forgot = f"{loss - base:.4f}" if loss > base else "nothing"
    return (
        f"On {text['name']}, {text['tokens']:,} tokens that it was not trained on, its loss is {loss:.4f} nats per "
        f"token where the base model's is {base:.4f}: it forgot {forgot}. KL(base‖adapter) is {drift:.4f} "
        f"nats per token there.{limit}\n\n"
    )


def _caveats(config: RaceConfig, lane: Lane, counts: dict[str, int]) -> str:
    flatters = " The step was chosen by these examples, which flatters the held-out loss." * config.keep_best
    return (
        f"These are the numbers of one run, of seed {lane.seed}, on {counts['held_out']} held-out "
        f"examples: they do not show that this start is better than another one.{flatters}"
    )


def _settings(config: RaceConfig, lane: Lane, counts: dict[str, int], adapter: Path) -> str:
    facts, (schedule, warmup) = setup_facts(config), config.schedule_of(lane)
    written = read_json_object(adapter / "adapter_config.json")
    rank, alpha = written["r"], compact(written["lora_alpha"])
    by = f" on average, by {lane.rank_by}" if lane.rank_by else ""
    of_file = "" if rank == lane.r else f"; in these files, which B⁰A⁰ or ΔW makes wider, {rank}, {alpha}"
    settings = {
        "learning rate": f"{compact(lane.lr)}, {schedule}, {warmup} warm-up steps",
        "rank, alpha": f"{lane.r}{by}, {compact(lane.lora_alpha)}{of_file}",
        "target modules": ", ".join(lane.targets or ()) or facts["target modules"],
        "steps, prompts per step": f"{facts['steps']}, {facts['prompts per step']}",
        "weight decay, clipping": f"{compact(lane.weight_decay)}, "
        + ("none" if lane.clip is None else compact(lane.clip)),
        "seeds": f"{lane.seed} of the lane, {facts['seed']} of the order of the examples",
        "examples": f"{counts['train']} for training, {counts['held_out']} held out, "
        f"{counts['test']} for the test" + ", long ones cut at the left" * config.truncate,
    }
    return "".join(f"- {what}: {value}\n" for what, value in settings.items())


def bare_card(config: dict[str, Any]) -> str:
    """Return the README of an adapter of which only its own settings are known, in PEFT's format."""
    base = config.get("base_model_name_or_path") or ""
    return (
        f"{_front_matter(base if '/' in str(base) else '')}\n"
        f"# A LoRA adapter{f' of {base}' * bool(base)}\n\n"
        f"An adapter in PEFT's format of rank {config.get('r')} and alpha "
        f"{config.get('lora_alpha')}, exported by olora_viz. Its folder says nothing about how it "
        "was trained, on what, or how good it is.\n"
    )
