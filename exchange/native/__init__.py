"""Pieces of the kernel, each compiled where there is a compiler and plain Python where there is none."""
