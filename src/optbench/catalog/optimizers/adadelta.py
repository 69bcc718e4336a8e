"""Adadelta: Zeiler 2012.

https://arxiv.org/abs/1212.5701

Weight decay is L2: `weight_decay` x weights is added to the gradient, before any adaptive scaling.
"""

USE = "torch.optim.Adadelta"
