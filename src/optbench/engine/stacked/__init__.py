"""Many small models trained as one: their parameters lie stacked, and one forward and one backward pass serves them all.

Models too small to keep a device busy leave it waiting for the next operation. Stacked, an operation does the work of all of them.
Each trial keeps its own initial weights, batches, hyperparameters, schedule and records, those of a single run.
"""
