"""The stages between a raw record and what goes out; exchange/process.py and exchange/reference.py call them.

image.py: row → valid record of the contract, with jsonfit.py for JSON documents and fit.py for what both use;
render.py: record → what a view shows; leak.py: the last gate; desk.py: where outcomes are filed; programs.py:
the compiled engines of one resource.
"""
