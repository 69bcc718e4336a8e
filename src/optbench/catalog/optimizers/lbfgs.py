"""L-BFGS, limited-memory quasi-Newton: Liu and Nocedal 1989.

https://doi.org/10.1007/BF01589116

It has no weight decay. Each step calls the closure several times, all on one batch; large batches suit it.
"""

USE = "torch.optim.LBFGS"
