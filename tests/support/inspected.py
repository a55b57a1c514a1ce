"""Adapters that PEFT saves, and what verbs print of them as JSON."""

import json

import peft
import torch

from olora_viz.__main__ import main
from olora_viz.measures.truncation import layers_like
from olora_viz.models import load_model


def lines(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def saved(folder, *, trained=0.02, **config):
    """Save an adapter with PEFT, its factors moved at random; return PEFT's ΔW by layer."""
    model, _ = load_model("glassllm")
    base = {name: W.double().clone() for name, W in layers_like(model).items()}
    torch.manual_seed(0)
    made = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj", "down_proj"], **config))
    for name, parameter in made.named_parameters():
        if "lora_" in name:
            parameter.data.add_(trained * torch.randn_like(parameter))
    made.save_pretrained(folder)
    merged = made.merge_and_unload()
    after = {name: W.double() for name, W in layers_like(merged).items()}
    return {n: (after[n] - base[n]).numpy() for n in base if n.endswith(("q_proj", "down_proj"))}
