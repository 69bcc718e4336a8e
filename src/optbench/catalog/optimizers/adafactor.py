"""Adafactor, factored second moments: Shazeer and Stern 2018.

https://arxiv.org/abs/1804.04235

Weight decay is decoupled: weights shrink by lr x `weight_decay`. Torch's default lr of 0.01 is a bound on a relative step.
"""

USE = "torch.optim.Adafactor"
