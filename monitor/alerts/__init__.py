"""Alerts from the monitor's own figures.

seen.py: what is looked at; judge.py: what is wrong there; texts.py: in words; watch.py: for how long it has
been so; notify.py, mail.py, webhook.py: telling somebody; desk.py: all of it, as parts of the monitor.
"""
