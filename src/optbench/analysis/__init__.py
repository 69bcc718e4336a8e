"""Records -> numbers: data frames in, data frames out; statistics, comparisons, warnings."""
