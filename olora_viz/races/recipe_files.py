"""The recipe of a race of one lane: scripts and settings with which other tools train its adapter on the same rows."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import yaml

from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import names_experts, target_layers
from olora_viz.lanes.recipes import RECIPES
from olora_viz.machine.wording import compact, counted
from olora_viz.races.config import RaceConfig
from olora_viz.races.script import olora_viz_script, peft_script, peft_start, source_of
from olora_viz.tasks.batches import Epochs
from olora_viz.tasks.chat import messages_of
from olora_viz.tasks.encoding import front_of
from olora_viz.tasks.keep import NONE
from olora_viz.tasks.losses import context_of
from olora_viz.tasks.task import Example, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ROWS_FILE = "train.jsonl"
"""The training rows, beside the other files."""

INFO = "dataset_info.json"
"""What LLaMA-Factory reads of them."""

TOOLS = {"peft": "PEFT", "trl": "TRL", "axolotl": "Axolotl", "llamafactory": "LLaMA-Factory", "unsloth": "Unsloth"}
"""What each tool is called, by the name of its file."""

FILES = ("peft.py", "trl.py", "axolotl.yaml", "llamafactory.yaml", "unsloth.py")
"""The files that train, of `TOOLS`; the first one has the race's own losses."""

TOOL_STARTS: dict[str, tuple[str, ...]] = {"llamafactory": ("lora", "pissa"), "unsloth": ("lora", "gaussian")}
"""The starts of a tool; one that is not here has those of PEFT."""

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""The linear layers of a block, by the names of the models that Unsloth trains."""

ROLES = ("system", "user", "assistant")
"""Those of a conversation."""

MODEL_AT, START_AT, RESIDUAL = "./model", "./start", "./residual"
"""Folders that a user makes: of a model that is not on the hub, of the adapter to start from, and of its model."""

INITIAL = "./initial"
"""The folder in which the script with TRL keeps the adapter that it starts from, where the start changes the base."""


TOKENS_OF = '''

def tokens_of(row):
    """Return the tokens of a row as the race has them."""
    read = tokenizer(row["prompt"] + row["answer"], return_offsets_mapping=True)
    tokens = {{"input_ids": read["input_ids"]{end}}}
{judged}    return tokens


'''
"""A function of a script with TRL."""

TOKENS_OF_ANSWER = (
    '    tokens["completion_mask"] = [int(end > len(row["prompt"])) for _, end in read["offset_mapping"]]{end}\n'
)
"""What it says of the answer: a token across its beginning is a part of it."""

GOING_ON = f"model = PeftModel.from_pretrained(model, {START_AT!r}, is_trainable=True)\n"
"""How a script goes on from the adapter to start from."""


def recipe_files(
    config: RaceConfig, task: Task, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, why: str = ""
) -> dict[str, str]:
    """Return the text of every file by name: `FILES`, and the rows that they read.

    Args:
        config: of a race of one lane.
        task: the one that it trained on.
        model, tokenizer: the base model, which is not changed, and its tokenizer.
        why: a sentence on top of each file.
    """
    config = config.with_steps(len(task.train))
    keep = config.keep if any(lane.replays for lane in config.lanes) else NONE
    config = replace(
        config, task=ROWS_FILE, test=None, rows=None, eval_every=0, keep=keep, keep_best=False, patience=0, forget=None
    )
    recipe = _Recipe(config, task, model, tokenizer, why)
    return {
        "peft.py": recipe.peft(), "trl.py": recipe.trl(), "axolotl.yaml": recipe.axolotl(),
        "llamafactory.yaml": recipe.llamafactory(), "unsloth.py": recipe.unsloth(), ROWS_FILE: recipe.rows(),
        INFO: recipe.info(),
    }  # fmt: skip


@dataclass(frozen=True)
class _Recipe:
    """What the files say, each in its tool's words."""

    config: RaceConfig
    task: Task
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    why: str

    @property
    def lane(self) -> Lane:
        """The only lane."""
        return self.config.lanes[0]

    @property
    def targets(self) -> tuple[str, ...] | None:
        """The target modules by the last words of their names, or in full where these find more; None for all."""
        names = self.lane.targets or self.config.targets
        layers = target_layers(self.model, names)
        last = tuple(dict.fromkeys(name.rpartition(".")[2] for name in layers))
        if layers.keys() == target_layers(self.model).keys():
            return None
        return last if target_layers(self.model, last).keys() == layers.keys() else tuple(layers)

    @property
    def length(self) -> int:
        """Maximum tokens of a row."""
        return self.config.max_length or context_of(self.model) or 2048

    def _row(self, example: Example) -> dict[str, Any]:
        end = self.tokenizer.eos_token if self.task.ends and not self.config.chat else None
        front = "".join(map(str, self.tokenizer.convert_ids_to_tokens([*front_of(self.tokenizer)])))
        completion = example.answer + (end or "")
        row: dict[str, Any] = {"prompt": example.prompt, "answer": example.answer, "completion": completion}
        if self.config.chat:
            return row | {"messages": [*map(list, messages_of(example))]}
        prompt = {"label": self.task.plain_text, "text": front + example.prompt}
        return row | {"segments": [prompt, {"label": True, "text": completion}]}

    def rows(self) -> str:
        """Write the training rows, in the race's order before it shuffles them."""
        lines = []
        for example in self.task.train:
            row = self._row(example)
            if self.config.chat:
                # As Axolotl reads a conversation; the script with PEFT takes the messages before the answer.
                turns = [*row["messages"], ["assistant", example.answer]]
                row["conversation"] = [{"role": role, "content": text} for role, text in turns]
                for turn in row["conversation"][:-1]:
                    turn["training"] = False  # an answer before the last has a row of its own
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        return "".join(lines)

    def info(self) -> str:
        """Write how LLaMA-Factory reads the rows."""
        about: dict[str, Any] = {"file_name": ROWS_FILE, "columns": {"prompt": "prompt", "response": "completion"}}
        if self.task.plain_text:
            about["columns"] = {"prompt": "completion"}
        elif self.config.chat:
            tags = {"role_tag": "role", "content_tag": "content"} | {f"{who}_tag": who for who in ROLES}
            about |= {"formatting": "sharegpt", "columns": {"messages": "conversation"}, "tags": tags}
        return json.dumps({"rows": about}, indent=1) + "\n"

    def header(self, tool: str, *notes: str) -> str:
        """Return the comment on top: what was chosen, for which model and rows, and what the tool cannot do."""
        lane, config = self.lane, self.config
        what = label_of(lane.init)
        if not lane.is_dense:
            more = ", rsLoRA" * lane.rslora + ", DoRA" * lane.dora
            what += f", rank {lane.r}, alpha {lane.lora_alpha:g}{more}"
        lines = [
            f"A recipe for {tool}: {what}, rate {compact(lane.lr)}, {config.steps} steps of {config.batch_size} rows,",
            f"that is {Epochs(config.steps * config.batch_size, len(self.task.train)).words}. {self.why}".rstrip(),
            f"It was measured on the model {config.model} and the {counted(len(self.task.train), 'row')} of "
            f"{ROWS_FILE}: another model or other rows may need another one.",
            *notes,
        ]
        return "".join(f"# {line}\n" for line in lines)

    def differences(self, splits: bool = True) -> list[str]:
        """Return what no tool but PEFT's script has of the race.

        Args:
            splits: whether the tool makes tokens of prompt and answer one by one.
        """
        notes = ["The order of the rows is the tool's own, so that losses agree with the race's on average only."]
        if splits and not self.config.chat and not self.task.plain_text:
            notes.append(
                "It splits prompt and answer before it makes tokens of them; the race makes tokens of both together."
            )
        if self.lane.opt != Lane.opt:
            words = self.lane.words("opt", "momentum", "damping")
            notes.append(f"It trains with AdamW; measured was {words}, whose rates are others.")
        if self.lane.rank_by:
            by = f"measured were those by {self.lane.rank_by}, which peft.py has"
            notes.append(f"It has rank {self.lane.r} in all layers; {by}.")
        if self.lane.dim is not None:
            notes.append(f"It trains every entry of A and B; measured were {self.lane.dim} directions alone.")
        if self.lane.replays:
            notes.append(
                f"It trains on these rows alone; measured was {self.lane.replay_words} of the text to keep too."
            )
        if self.schedule(self.lane)[1]:
            notes.append("Its warm-up begins at the rate 0, the race's one step later.")
        return notes

    def schedule(self, lane: Lane) -> tuple[str, int]:
        """Return the schedule in transformers' words, and the steps of the warm-up."""
        name, warmup = self.config.schedule_of(lane)
        return ("constant_with_warmup" if name == "constant" and warmup else str(name)), warmup

    def trainer(self) -> dict[str, Any]:
        """Return the settings of an update by their names in transformers."""
        lane = self.lane
        name, warmup = self.schedule(lane)
        return {
            "learning_rate": lane.lr, "lr_scheduler_type": name, "warmup_steps": warmup,
            "max_steps": self.config.steps, "weight_decay": lane.weight_decay, "max_grad_norm": lane.clip or 0.0,
            "adam_beta1": lane.beta1, "adam_beta2": lane.beta2, "seed": lane.seed,
        }  # fmt: skip

    @property
    def is_half(self) -> bool:
        """Whether the frozen base is in bfloat16."""
        return self.config.dtype == "bfloat16"

    def start(self, tool: str) -> tuple[Any, list[str]]:
        """Return PEFT's name of the start, and the comments on it; None if the tool lacks it."""
        name, lane = peft_start(self.config, self.lane), self.lane
        if lane.is_dense or (name is not None and lane.init in TOOL_STARTS.get(tool, (lane.init,))):
            return (True if lane.is_dense else name), []
        if INITIALIZERS[lane.init].needs:
            return None, [
                f"{TOOLS[tool]} lacks the start {lane.init}, which is computed from the rows: this begins "
                "as plain LoRA, which is not what was measured. peft.py has the start."
            ]
        words = ["python", "-m", "olora_viz", "start", "--model", MODEL_AT, "--init", lane.init, "--r", str(lane.r)]
        words += ["--alpha", f"{lane.lora_alpha:g}", "--seed", str(lane.seed)]
        words += [word for target in self.targets or () for word in ("--target", target)]
        words += ["--out", START_AT, "--residual", RESIDUAL]
        return None, [
            f"{TOOLS[tool]} lacks the start {lane.init}: it goes on from the adapter {START_AT} on the model "
            f"{RESIDUAL}, which this writes from the model's folder:",
            f"  {shlex.join(words)}",
        ]

    def base(self, tool: str) -> tuple[str, bool, list[str]]:
        """Return the base model, whether it goes on from an adapter, and the comments on both."""
        start, notes = self.start(tool)
        goes_on = start is None and not INITIALIZERS[self.lane.init].needs
        if self.lane.dora and (goes_on or tool == "unsloth"):
            lacks = "an adapter that it goes on from has no magnitudes" if goes_on else "Unsloth has no DoRA"
            notes = [*notes, f"It trains A and B alone: {lacks}. DoRA was measured; peft.py has it."]
        source = source_of(self.config)
        if source is None or goes_on:
            model = f"ov.load_model({self.config.model!r})"
            notes = [
                f"{MODEL_AT} is the model's folder, which Python writes:",
                f"  import olora_viz as ov; model, tokenizer = {model}",
                f"  model.save_pretrained({MODEL_AT!r}); tokenizer.save_pretrained({MODEL_AT!r})",
                *notes,
            ]
        return (RESIDUAL if goes_on else source or MODEL_AT), goes_on, notes

    def peft(self) -> str:
        """Write the script that has the race's losses: with PEFT, or with olora_viz where PEFT cannot train it."""
        lane, experts = self.lane, any(map(names_experts, self.targets or ()))
        beyond = lane.is_dense or lane.dim is not None or lane.replays or experts
        note = "The batches, and so the losses, are the race's."
        if beyond:
            return self.header("olora_viz", note, "PEFT cannot train this lane.") + olora_viz_script(self.config)
        return self.header("PEFT", note) + peft_script(self.config, rows=self.task)

    def axolotl(self) -> str:
        """Write Axolotl's settings."""
        lane, config = self.lane, self.config
        base, goes_on, notes = self.base("axolotl")
        start, _ = self.start("axolotl")
        rows: dict[str, Any] = {"path": ROWS_FILE, "ds_type": "json", "type": "input_output"}
        if config.chat:
            rows = rows | {"type": "chat_template", "field_messages": "conversation", "roles_to_train": ["assistant"]}
            rows["message_field_training"] = "training"
        adapter: dict[str, Any] = {}
        if not lane.is_dense:
            adapter = {"adapter": "lora", "lora_r": lane.r, "lora_alpha": _whole(lane.lora_alpha)}
            adapter |= {"lora_dropout": lane.dropout, "peft_use_rslora": lane.rslora}
            adapter |= {"peft_use_dora": True} if lane.dora and not goes_on else {}
            adapter |= {"lora_target_modules": [*self.targets]} if self.targets else {"lora_target_linear": True}
            adapter |= {"peft_init_lora_weights": start} if start not in (None, True) else {}
            adapter |= {"lora_model_dir": START_AT} if goes_on else {}
            adapter |= {"loraplus_lr_ratio": lane.lora_plus} if lane.lora_plus != 1 else {}
        trainer = self.trainer()
        trainer["lr_scheduler"] = trainer.pop("lr_scheduler_type")
        settings = {
            "base_model": base, **adapter, "datasets": [rows], "train_on_inputs": False, "val_set_size": 0.0,
            "sequence_len": self.length, "sample_packing": False, "micro_batch_size": config.batch_size,
            "gradient_accumulation_steps": 1, "optimizer": "adamw_torch", **trainer, "bf16": self.is_half,
            "fp16": False, "tf32": False, "output_dir": "./adapter",
        }  # fmt: skip
        return self.header(f"Axolotl {RECIPES['axolotl'].version}", *self.differences(), *notes) + _yaml(settings)

    def llamafactory(self) -> str:
        """Write LLaMA-Factory's settings."""
        lane, config = self.lane, self.config
        base, goes_on, notes = self.base("llamafactory")
        adapter: dict[str, Any] = {"finetuning_type": "full"}
        if not lane.is_dense:
            adapter = {"finetuning_type": "lora", "lora_rank": lane.r, "lora_alpha": _whole(lane.lora_alpha)}
            adapter |= {"lora_dropout": lane.dropout, "use_rslora": lane.rslora}
            adapter |= {"use_dora": True} if lane.dora and not goes_on else {}
            adapter |= {"lora_target": ",".join(self.targets or ("all",))}
            adapter |= {"pissa_init": True, "pissa_iter": -1} if lane.init == "pissa" and not goes_on else {}
            adapter |= {"adapter_name_or_path": START_AT} if goes_on else {}
            adapter |= {"loraplus_lr_ratio": lane.lora_plus} if lane.lora_plus != 1 else {}
        template = {"mask_history": True} if config.chat else {"template": "empty"}
        settings = {
            "model_name_or_path": base, "stage": "pt" if self.task.plain_text else "sft", "do_train": True, **adapter,
            "dataset": "rows", "dataset_dir": ".", **template, "cutoff_len": self.length, "train_on_prompt": False,
            "per_device_train_batch_size": config.batch_size, "gradient_accumulation_steps": 1,
            "optim": "adamw_torch", **self.trainer(), "bf16": self.is_half, "output_dir": "./adapter",
        }  # fmt: skip
        front = (
            []
            if config.chat or front_of(self.tokenizer)
            else ["It puts the tokenizer's first token, if it has one, before every row."]
        )
        return self.header(
            f"LLaMA-Factory {RECIPES['llamafactory'].version}", *self.differences(), *front, *notes
        ) + _yaml(settings)

    def unsloth(self) -> str:
        """Write the script with Unsloth and TRL."""
        lane = self.lane
        base, goes_on, notes = self.base("unsloth")
        start, _ = self.start("unsloth")
        loading = {
            "model_name": base, "max_seq_length": self.length, "load_in_4bit": False, "full_finetuning": lane.is_dense,
        }  # fmt: skip
        adapter = {
            "r": lane.r, "lora_alpha": _whole(lane.lora_alpha), "lora_dropout": lane.dropout,
            "target_modules": [*(self.targets or PROJECTIONS)], "use_rslora": lane.rslora,
            "init_lora_weights": True if start is None else start, "random_state": lane.seed,
        }  # fmt: skip
        adapted = f"model = FastLanguageModel.get_peft_model(\n    model,\n{_arguments(adapter)})\n"
        tool = f"Unsloth {RECIPES['unsloth'].version}, with TRL {RECIPES['trl'].version}"
        return (
            self.header(tool, *self.differences(), *self._of_trl(), *notes)
            + f'"""Trains with Unsloth on the rows of {ROWS_FILE}."""\n\n'
            "import json\nfrom pathlib import Path\n\nimport torch\nfrom unsloth import FastLanguageModel\n\n"
            "from datasets import Dataset\n"
            + "from peft import PeftModel\n"
            * goes_on
            + "from trl import SFTConfig, SFTTrainer\n\n"
            f"model, tokenizer = FastLanguageModel.from_pretrained(\n{_arguments(loading)}    dtype={self.dtype},\n)\n"
            f"{GOING_ON if goes_on else '' if lane.is_dense else adapted}"
            f"{self.trainer_script()}"
            "model.save_pretrained('adapter')\ntokenizer.save_pretrained('adapter')\n"
        )

    def trl(self) -> str:
        """Write the script with PEFT and TRL."""
        lane = self.lane
        base, goes_on, notes = self.base("trl")
        start, _ = self.start("trl")
        adapter = {
            "r": lane.r, "lora_alpha": _whole(lane.lora_alpha), "lora_dropout": lane.dropout,
            "target_modules": [*self.targets] if self.targets else "all-linear", "use_rslora": lane.rslora,
            "init_lora_weights": True if start is None else start, "use_dora": lane.dora, "task_type": "CAUSAL_LM",
        }  # fmt: skip
        # PEFT writes an adapter of twice the rank for the model as it was, given the adapter to start from.
        # Of DoRA it leaves the magnitudes out: that adapter names its start, and subtracts it where it is loaded.
        keeps = lane.is_dense or lane.dora or INITIALIZERS[lane.init].zero_product
        moves = start is not None and not keeps
        adapted = (
            f"torch.manual_seed({lane.seed})\n"
            f"model = get_peft_model(\n    model,\n    LoraConfig(\n{_arguments(adapter, 8)}    ),\n)\n"
            + f"model.save_pretrained({INITIAL!r})\n"
            * moves
        )
        of_peft = "PeftModel" if goes_on else "LoraConfig, get_peft_model"
        model = MODEL_AT if goes_on else base
        initial = INITIAL if moves else START_AT if goes_on else None
        saved = "'adapter'" + f", path_initial_model_for_weight_conversion={initial!r}" * (initial is not None)
        of_base = f"model.peft_config['default'].base_model_name_or_path = {model!r}\n" * goes_on
        return (
            self.header(
                f"TRL {RECIPES['trl'].version}, with PEFT",
                *self.differences(splits=False),
                *self._of_trl(end=False),
                *notes,
            )
            + f'"""Trains with PEFT and TRL on the rows of {ROWS_FILE}."""\n\n'
            "import json\nfrom pathlib import Path\n\nimport torch\nfrom datasets import Dataset\n"
            + f"from peft import {of_peft}\n"
            * (not lane.is_dense)
            + "from transformers import AutoModelForCausalLM, AutoTokenizer\nfrom trl import SFTConfig, SFTTrainer\n\n"
            f"tokenizer = AutoTokenizer.from_pretrained({model!r})\n"
            "tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token\n"
            f"model = AutoModelForCausalLM.from_pretrained({base!r}, dtype={self.dtype})\n"
            f"{GOING_ON if goes_on else '' if lane.is_dense else adapted}"
            f"{self.trainer_script(tokens=True)}"
            f"{of_base}model.save_pretrained({saved})\ntokenizer.save_pretrained('adapter')\n"
        )

    @property
    def dtype(self) -> str:
        """The base's, in Python."""
        return "torch.bfloat16" if self.is_half else "torch.float32"

    def _of_trl(self, end: bool = True) -> list[str]:
        """Return what TRL's trainer does otherwise.

        Args:
            end: whether it makes tokens of the rows, and ends them.
        """
        notes, lane = [], self.lane
        if end and not self.task.ends and not self.config.chat:
            notes.append("TRL ends every row with the end token, which the race does not train.")
        if lane.lora_plus != 1:
            notes.append(f"TRL has no rate of its own for B: LoRA+ with {lane.lora_plus:g} was measured.")
        return notes

    def row_script(self, tokens: bool) -> str:
        """Write what TRL trains on of a row.

        Args:
            tokens: whether of a prompt and its answer, or a text, these are the tokens of the race: those of text end
                with the end token, which not every race trains.
        """
        if self.config.chat:
            return '{"prompt": row["conversation"][:-1], "completion": row["conversation"][-1:]}'
        if tokens:
            return "tokens_of(row)"
        if self.task.plain_text:
            return '{"text": row["prompt"] + row["answer"]}'
        return '{"prompt": row["prompt"], "completion": row["completion"]}'

    def trainer_script(self, tokens: bool = False) -> str:
        """Write how TRL trains `model` on the rows, with `tokenizer`; see `row_script`."""
        training = {
            "per_device_train_batch_size": self.config.batch_size, "gradient_accumulation_steps": 1,
            "optim": "adamw_torch", **self.trainer(), "max_length": self.length, "packing": False,
            **({} if self.task.plain_text else {"completion_only_loss": True}), "bf16": self.is_half,
            "output_dir": "adapter",
        }  # fmt: skip
        row = self.row_script(tokens)
        ends = self.task.ends and self.tokenizer.eos_token_id is not None
        judged = "" if self.task.plain_text else TOKENS_OF_ANSWER.format(end=" + [1]" * ends)
        end = " + [tokenizer.eos_token_id]" * ends
        return (
            f"{TOKENS_OF.format(judged=judged, end=end)}"
            * row.startswith("tokens")
            + f"lines = Path(__file__).with_name({ROWS_FILE!r}).read_text(encoding='utf-8').splitlines()\n"
            f"rows = [{row} for row in map(json.loads, lines)]\n"
            "trainer = SFTTrainer(\n    model=model,\n    processing_class=tokenizer,\n"
            f"    train_dataset=Dataset.from_list(rows),\n    args=SFTConfig(\n{_arguments(training, 8)}    ),\n)\n"
            "trainer.train()\n"
        )


def _whole(alpha: float) -> float:
    """Return an alpha as the whole number that it is, if it is one."""
    return int(alpha) if math.isfinite(alpha) and alpha == int(alpha) else alpha


def _arguments(values: Mapping[str, Any], indent: int = 4) -> str:
    """Write the arguments of a call, one on a line."""
    return "".join(f"{' ' * indent}{name}={value!r},\n" for name, value in values.items())


def _yaml(settings: Mapping[str, Any]) -> str:
    """Write settings as YAML, in their order."""
    return yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
