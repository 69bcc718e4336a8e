"""What a person sees of trials that run: a live table in a terminal, plain lines when piped, JSON lines for programs.

`board` is what is known, `view` and `lines` show it, `display` chooses between them.
"""
