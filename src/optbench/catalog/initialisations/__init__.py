"""Initialisations: `fill(weight, *, ...)` sets the weights of linear and convolution layers in place; their biases become 0.

Other parameters (norms, embeddings, tokens) keep the model's initialisation. Random numbers are from torch's global generator.
"""
