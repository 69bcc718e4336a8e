"""NAdam, Adam with Nesterov momentum: Dozat 2016.

https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ

Weight decay is L2 (added to the gradient), unless `decoupled_weight_decay: true`: then weights shrink by lr x
`weight_decay`.
"""

USE = "torch.optim.NAdam"
