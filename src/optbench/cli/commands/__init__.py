"""Options and help of commands that are implemented in the module of the same name one folder up."""
