"""Adam: Kingma and Ba 2015.

https://arxiv.org/abs/1412.6980

Weight decay is L2: `weight_decay` x weights is added to the gradient, before any adaptive scaling. For decoupled decay use `adamw`.
"""

USE = "torch.optim.Adam"
