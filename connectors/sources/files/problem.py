"""Why a file is not loaded. No text quotes what stands in it: the first line of a headless file is data."""

from __future__ import annotations


class FileProblem(Exception):
    """A file as a whole cannot be read as records of its resource."""
