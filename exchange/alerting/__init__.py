"""Alerts: what somebody must act on, from the first sight of it until it is over.

rules.py: what topology.yaml may say; alert.py: one alert and its states; store.py: where they are kept.
"""
