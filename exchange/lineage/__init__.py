"""Where data come from and what becomes of each field, for a catalogue that takes OpenLineage.

events.py: a published plan as events; send.py: to an address.
"""
