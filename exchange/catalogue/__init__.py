"""The catalogue of resources: what topology and contracts do not say, decided on by those who answer for it.

entry.py     the table of states and events, and the entry as a value              pure
sheet.py     an entry beside what topology and contract say of its resource         pure
elements.py  one datum, one source: who claims an element, and who is named         pure
search.py    words in both languages                                                pure
check.py     what is missing, overdue or unsettled                                  pure
shelf.py     entries and namings in the store of requests
desk.py      all of it put together, for commands
exchanged.py what an export holds and an import may say                             pure
table.py     CSV and Excel;  odcs.py  Open Data Contract Standard;  dcat.py  DCAT-AP
"""
