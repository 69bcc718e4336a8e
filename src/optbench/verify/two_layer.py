"""A two-layer network with a hand-written backward pass: tanh hidden layer, sigmoid output, gradient descent.

    h = tanh(x W1 + b1)      p = sigmoid(h W2 + b2)      loss = -mean(y log p + (1 - y) log(1 - p))

`gradients` applies the chain rule from the loss back to the first layer (Rumelhart, Hinton and Williams 1986,
https://doi.org/10.1038/323533a0); the tests and `optbench verify` compare it with torch's autograd. NumPy, float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Network:
    """Weights, or the gradient of a loss with respect to them, in the same shapes."""

    w1: Array  # (inputs, hidden)
    b1: Array  # (hidden,)
    w2: Array  # (hidden, 1)
    b2: Array  # (1,)


def initial(inputs: int, hidden: int, seed: int) -> Network:
    """Return Xavier normal weights, which preserve the variance of tanh's inputs (Glorot and Bengio 2010), and biases of 0."""
    random = np.random.default_rng(seed)
    return Network(
        random.normal(size=(inputs, hidden)) * np.sqrt(2 / (inputs + hidden)),
        np.zeros(hidden),
        random.normal(size=(hidden, 1)) * np.sqrt(2 / (hidden + 1)),
        np.zeros(1),
    )


def probabilities(network: Network, x: Array) -> Array:
    """Return the probability of class 1 per sample, (samples, 1). `x` is (samples, inputs)."""
    return _forward(network, x)[1]


def loss(network: Network, x: Array, y: Array) -> float:
    """Return the mean binary cross-entropy. `y` is (samples, 1), with values 0 and 1.

    It is computed from the scores, not from the probabilities, so that no logarithm of 0 occurs.
    """
    hidden = np.tanh(x @ network.w1 + network.b1)
    scores = hidden @ network.w2 + network.b2
    return float(np.mean(np.logaddexp(0, scores) - y * scores))


def gradients(network: Network, x: Array, y: Array) -> Network:
    """Return the derivative of the loss with respect to each weight, from the last layer to the first."""
    hidden, p = _forward(network, x)
    d_scores = (p - y) / len(x)  # derivative of sigmoid and cross-entropy combined
    d_hidden = d_scores @ network.w2.T
    d_sums = d_hidden * (1 - hidden**2)  # tanh' = 1 - tanh^2
    return Network(x.T @ d_sums, d_sums.sum(0), hidden.T @ d_scores, d_scores.sum(0))


def descend(network: Network, x: Array, y: Array, lr: float, steps: int) -> tuple[Network, list[float]]:
    """Run batch gradient descent. Return the trained weights and the loss before each step."""
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
    scores = hidden @ network.w2 + network.b2
    return hidden, 0.5 * (1 + np.tanh(0.5 * scores))  # the sigmoid, without overflow
