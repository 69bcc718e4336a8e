"""Losses: `build(*, ...)` returns a function (outputs, labels) -> the batch's mean loss, a scalar tensor."""
