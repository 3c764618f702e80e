"""Alerts from the monitor's own figures.

seen.py and look.py: what is looked at; judge.py: what is wrong there; texts.py: in words; watch.py: for how
long it has been so; mail.py and webhook.py: telling somebody; desk.py: all of it, two parts of the monitor.
"""
