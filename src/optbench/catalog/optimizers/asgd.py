"""ASGD, averaged SGD: Polyak and Juditsky 1992.

https://doi.org/10.1137/0330046

Weight decay is L2: `weight_decay` x weights is added to the gradient. Torch keeps the averaged weights in the optimizer's
state; evaluations use the live weights.
"""

USE = "torch.optim.ASGD"
