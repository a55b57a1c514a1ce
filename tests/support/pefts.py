"""PEFT as the reference: its models, and what ours answer beside them."""

import peft
import torch
from support.tiny import tokens

from olora_viz.lanes.lane import Lane

IDS = tokens()


def logits(model) -> torch.Tensor:
    """Return what a model answers to some tokens."""
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits


def peft_model(lane: Lane, layers, model, init):
    """Put a lane's adapters on a model by PEFT."""
    config = peft.LoraConfig(
        r=lane.r,
        lora_alpha=lane.r if lane.alpha is None else lane.alpha,
        use_rslora=lane.rslora,
        target_modules=list(layers),
        init_lora_weights=init,
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, config)
