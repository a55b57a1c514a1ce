"""Gradient descent with momentum, whose steps are as large as the gradients."""

from olora_viz.lanes.optimizers.optimizer import Optimizer

SGD = Optimizer("SGD", "torch.optim.SGD", ("lora_plus", "momentum"), momentum=0.9, rate=100.0)
