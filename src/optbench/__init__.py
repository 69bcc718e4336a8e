"""optbench: which optimizer, on this workload, and how sure are we?"""

__version__ = "0.1.0"
