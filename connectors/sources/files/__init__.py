"""Files as a source: CSV, Excel and JSON lines, dropped in a folder or loaded by `exchange load`.

sheet.py: a file as rows of cells; encoding.py: which encoding a text is in; header.py: columns to fields;
cells.py: a cell as a field's value; load.py: one file, judged whole and then loaded in steps; steps.py: such
a step as a batch; progress.py: how far a file is in Kafka; folder.py: what is dropped, settled, done or
refused; source.py: the `Source` protocol.
"""
