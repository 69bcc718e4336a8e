"""Comparison of optimizers with reference implementations, and conformance checks of plug-in optimizers.

`references.py` and `two_layer.py` use NumPy in float64, with one equation per line and without torch.
"""
