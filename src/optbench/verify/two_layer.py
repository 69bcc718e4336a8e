"""The smallest network worth the name, by hand: tanh hidden layer, sigmoid output, backward pass and gradient descent.

    h = tanh(x W1 + b1)      p = sigmoid(h W2 + b2)      loss = -mean(y log p + (1 - y) log(1 - p))

The chain rule, from the loss back to the first layer (Rumelhart, Hinton and Williams 1986, https://doi.org/10.1038/323533a0), is
`gradients`; `tests` and `optbench verify` hold it to torch's autograd. NumPy, float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Network:
    """Weights; or, of the same shapes, the gradient of a loss in them."""

    w1: Array  # (inputs, hidden)
    b1: Array  # (hidden,)
    w2: Array  # (hidden, 1)
    b2: Array  # (1,)


def initial(inputs: int, hidden: int, seed: int) -> Network:
    """Xavier normal weights, which keep the variance of tanh's inputs (Glorot and Bengio 2010); biases of 0."""
    random = np.random.default_rng(seed)
    return Network(
        random.normal(size=(inputs, hidden)) * np.sqrt(2 / (inputs + hidden)),
        np.zeros(hidden),
        random.normal(size=(hidden, 1)) * np.sqrt(2 / (hidden + 1)),
        np.zeros(1),
    )


def probabilities(network: Network, x: Array) -> Array:
    """(samples, 1): that a sample is of class 1. `x` is (samples, inputs)."""
    return _forward(network, x)[1]


def loss(network: Network, x: Array, y: Array) -> float:
    """Mean binary cross-entropy. `y` is (samples, 1), of 0 and 1.

    From the scores, not from the probabilities: log(1 + e^s) never takes the logarithm of a zero.
    """
    hidden = np.tanh(x @ network.w1 + network.b1)
    scores = hidden @ network.w2 + network.b2
    return float(np.mean(np.logaddexp(0, scores) - y * scores))


def gradients(network: Network, x: Array, y: Array) -> Network:
    """The loss's derivative in every weight, layer by layer from the end."""
    hidden, p = _forward(network, x)
    d_scores = (p - y) / len(x)  # sigmoid and cross-entropy together: the two derivatives cancel to this
    d_hidden = d_scores @ network.w2.T
    d_sums = d_hidden * (1 - hidden**2)  # tanh' = 1 - tanh^2
    return Network(x.T @ d_sums, d_sums.sum(0), hidden.T @ d_scores, d_scores.sum(0))


def descend(network: Network, x: Array, y: Array, lr: float, steps: int) -> tuple[Network, list[float]]:
    """Batch gradient descent: the trained weights, and the loss before each step."""
    losses = []
    for _ in range(steps):
        losses.append(loss(network, x, y))
        g = gradients(network, x, y)
        network = Network(
            network.w1 - lr * g.w1, network.b1 - lr * g.b1, network.w2 - lr * g.w2, network.b2 - lr * g.b2
        )
    return network, losses


def _forward(network: Network, x: Array) -> tuple[Array, Array]:
    hidden = np.tanh(x @ network.w1 + network.b1)
    return hidden, 0.5 * (
        1 + np.tanh(0.5 * (hidden @ network.w2 + network.b2))
    )  # a sigmoid that never overflows
