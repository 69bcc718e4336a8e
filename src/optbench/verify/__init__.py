"""Optimizers held to their equations, and plug-ins to what a training loop may expect of them.

`references.py` and `two_layer.py` are written to be read: NumPy, float64, one equation a line, no torch.
"""
