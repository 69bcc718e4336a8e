"""Runs suites: planning, rounds of trials, reruns, wider sweeps, reports. Prints nothing and does not know about a terminal."""
