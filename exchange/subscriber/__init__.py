"""A subscriber's side: connecting, reading a view, decoding it, telling duplicates by their position."""
