"""Initial weights: `fill(weight, *, ...)`, in place, for the weights of linear and convolution layers; their biases become 0.

The other parameters (norms, embeddings, tokens) stay as the model made them. Draws come from torch's global generator.
"""
