"""AdamW, Adam with decoupled weight decay: Loshchilov and Hutter 2019.

https://arxiv.org/abs/1711.05101

Weight decay is decoupled: weights shrink by lr x `weight_decay` at each step, untouched by the adaptive scaling. Torch's
default is 0.01, not 0.
"""

USE = "torch.optim.AdamW"
#: defaults of `optbench new`
STARTER = {"lr": 1e-3, "weight_decay": 0.05}
