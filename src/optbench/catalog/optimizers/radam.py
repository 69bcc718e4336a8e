"""RAdam, rectified Adam: Liu et al. 2020.

https://arxiv.org/abs/1908.03265

Weight decay is L2 (added to the gradient), unless `decoupled_weight_decay: true`: then weights shrink by lr x
`weight_decay`.
"""

USE = "torch.optim.RAdam"
