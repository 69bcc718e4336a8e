"""Compile before the clock starts: one forward and backward pass whose every trace is wiped out again."""

from __future__ import annotations

import torch

from optbench.engine.checkpoint import random_state, restore_random_state
from optbench.engine.session import Session


def compile_outside_the_clock(session: Session) -> None:
    """Runs the compiled model once in training and once in evaluation mode on the first batch; weights, buffers, gradients and
    generators are as before."""
    buffers = [buffer.detach().clone() for buffer in session.model.buffers()]
    generators = random_state(session.device)
    inputs, labels = session.feed.batch(0)
    session.model.train()
    with session.precision.autocast(session.device):
        loss = session.loss(session.forward(inputs), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    session.model.eval()
    with torch.inference_mode(), session.precision.autocast(session.device):
        session.forward(inputs)
    session.model.train()
    for parameter in session.parameters:
        parameter.grad = None
    with torch.no_grad():
        for buffer, before in zip(session.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
    restore_random_state(generators, session.device)
