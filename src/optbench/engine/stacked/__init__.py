"""Stacked training: many small models with stacked parameters share each forward and backward pass.

A small model cannot keep a device busy; a stacked operation processes all models at once. Each trial keeps its own initial weights,
batches, hyperparameters, schedule and records, equal to those of a single run.
"""
