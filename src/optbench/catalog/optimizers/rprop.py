"""Rprop, resilient backpropagation for full batches: Riedmiller and Braun 1993.

https://doi.org/10.1109/ICNN.1993.298623

It has no weight decay, and only the gradient's sign counts: meant for full-batch training.
"""

USE = "torch.optim.Rprop"
