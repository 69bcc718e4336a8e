"""RMSprop: Hinton, Srivastava and Swersky 2012 (lecture).

https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf

Weight decay is L2: `weight_decay` x weights is added to the gradient, before any adaptive scaling.
"""

USE = "torch.optim.RMSprop"
#: defaults of `optbench new`
STARTER = {"lr": 1e-3}
