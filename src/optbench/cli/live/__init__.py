"""Display of running trials: a live table in a terminal, plain lines when piped, JSON lines for programs.

`board` holds the state, `view` and `lines` show it, `display` selects one of them.
"""
