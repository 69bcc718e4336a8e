"""SGD with optional (Nesterov) momentum: Robbins and Monro 1951; Polyak 1964; Sutskever et al. 2013.

https://proceedings.mlr.press/v28/sutskever13.html

Weight decay is L2: `weight_decay` x weights is added to the gradient, and so into the momentum; it acts times lr.
"""

USE = "torch.optim.SGD"
#: defaults of `optbench new`
STARTER = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
