"""Files that people write, read so that every problem is shown where it is: file, line, column, caret.

problem.py: a problem and how it is shown; textfile.py: bytes to text; yaml_source.py, json_source.py: values
that know their place; contracts.py: all contracts of a directory. private.py writes what nobody else
may read.
"""
