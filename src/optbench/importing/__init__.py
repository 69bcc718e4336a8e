"""Other people's logs -> the project's own store: a reader a file, one writer for all."""
