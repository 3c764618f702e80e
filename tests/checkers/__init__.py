"""Checkers that judge the bus from outside: they share no code with what they judge."""
