"""Execution of trials in worker processes on this machine: one at a time (`local`), in parallel (`parallel`) or stacked (`stacked`)."""
