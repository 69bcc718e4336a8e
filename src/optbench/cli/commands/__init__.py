"""Commands whose work lies in a module of the same name one folder up: here are only their options and help."""
