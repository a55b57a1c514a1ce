"""AdamW: each entry moves by its mean gradient over the root of its mean square."""

from olora_viz.lanes.optimizers.optimizer import Optimizer

ADAMW = Optimizer(
    "AdamW", "Loshchilov & Hutter 2019, arXiv 1711.05101; torch.optim.AdamW", ("beta1", "beta2", "lora_plus")
)
