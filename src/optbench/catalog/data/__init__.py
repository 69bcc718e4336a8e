"""Data sets that a suite can name: a file here is one, and its name is the file's stem (`_` files are shared code).

An item has two functions with the same keyword arguments, which are what a suite writes beside the name:

    describe(root: Path, *, ...) -> DataInfo    sizes, shape and classes; no decoding, no network, no torch
    load(root: Path, *, ...) -> Splits          the samples themselves (`optbench.catalog.types`)

`root` is the data root. Somebody's own data set is named in a suite in one of two ways:

- `my_data.py` or `my_package.my_data`: a module (or any object) with `load`, and `describe` if that is cheap;
- `my_data.py:letters` or `my_package.letters`: a function, taken as `load`. Its description comes from what it returns.

Either may return, in place of `Splits`, three pairs (inputs, labels) of arrays or tensors, for training, validation and
test: images as uint8 (n, channels, height, width) or (n, height, width), vectors as floats (n, features), labels as whole
numbers from 0.

Data are checked each time they are loaded (`optbench.catalog.data_checks`): types, shapes, lengths, labels, and that every number
is finite. `optbench run` loads each data set before the first trial, so that a fault ends the run with exit code 2. Samples that
occur in two splits, classes without training samples and pictures of one colour are reported as warnings. `docs/numbers.md` has
the rules.
"""
