"""Data sets. Each file is one data set, named after the file; files that start with `_` are shared code.

A data set has two functions with the same keyword arguments, which a suite sets beside the name:

    describe(root: Path, *, ...) -> DataInfo    sizes, shape and classes; without decoding, network or torch
    load(root: Path, *, ...) -> Splits          the samples themselves (`optbench.catalog.types`)

`root` is the data root. A suite names its own data set in one of two ways:

- `my_data.py` or `my_package.my_data`: a module (or any object) with `load`, and `describe` if it is fast;
- `my_data.py:letters` or `my_package.letters`: a function, used as `load`. The description is derived from the result.

Both may return, instead of `Splits`, three pairs (inputs, labels) of arrays or tensors, for training, validation and
test: images as uint8 (n, channels, height, width) or (n, height, width), vectors as floats (n, features), labels as integers
from 0.

Data are checked each time they are loaded (`optbench.catalog.data_checks`): types, shapes, lengths, labels, and that every number
is finite. `optbench run` loads each data set before the first trial, so that an error ends the run with exit code 2. Samples that
occur in two splits, classes without training samples and pictures of one colour are reported as warnings. `docs/numbers.md` has
the rules.
"""
