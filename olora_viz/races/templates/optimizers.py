"""The optimizers of the script with PEFT, where a lane has another one than AdamW."""

import torch


# Optimizer
def optimizer_of(model, lane, groups):
    """Return the optimizer of a lane: that of torch or PEFT, which may round to bfloat16 where the race does not."""
    from peft.optimizers import create_lorafa_optimizer, create_riemannian_optimizer

    adam = {"betas": (lane.beta1, lane.beta2), "weight_decay": lane.weight_decay}
    if lane.opt == "sgd":
        return torch.optim.SGD(groups, lr=lane.lr, momentum=lane.momentum_used)
    if lane.opt == "muon":
        return torch.optim.Muon(groups, momentum=lane.momentum_used, weight_decay=lane.weight_decay)
    if lane.opt == "riemannian":
        return create_riemannian_optimizer(model, torch.optim.AdamW, lr=lane.lr, reg=lane.damping, **adam)
    if lane.opt == "lora_fa":
        made = create_lorafa_optimizer(model, lane.r, lane.lora_alpha, lane.lr, lane.weight_decay)
        for group in made.param_groups:
            group.update(betas=adam["betas"], eps=1e-8)
        return made
    return torch.optim.AdamW(groups, **adam)


# End of optimizer
