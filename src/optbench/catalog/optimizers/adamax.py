"""AdaMax, Adam with the infinity norm: Kingma and Ba 2015, section 7.1.

https://arxiv.org/abs/1412.6980

Weight decay is L2: `weight_decay` x weights is added to the gradient, before any adaptive scaling.
"""

USE = "torch.optim.Adamax"
