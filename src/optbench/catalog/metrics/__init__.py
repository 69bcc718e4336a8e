"""Metrics: `total(outputs, labels, loss) -> Tensor` sums over the samples of a batch; the mean over the split is the metric."""
