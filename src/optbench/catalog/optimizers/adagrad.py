"""Adagrad: Duchi, Hazan and Singer 2011.

https://jmlr.org/papers/v12/duchi11a.html

Weight decay is L2: `weight_decay` x weights is added to the gradient, before any adaptive scaling.
"""

USE = "torch.optim.Adagrad"
