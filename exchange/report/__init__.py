"""The monthly assessment of sharing: what each department gave, got, and how good it was.

assess.py: the figures put together; render.py: as a printable page; excel.py: as a workbook.
"""
