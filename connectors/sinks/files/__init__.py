"""Views as files: each change a line, whole files only, by the hour of the change's commit in its source.

names.py: what a file's name says, and how far a folder is by them; csvtext.py, parquet.py: what is in a file;
sink.py: the protocol.
"""
