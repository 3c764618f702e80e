"""Certificates: an authority of one's own, what it issues, and a look at what a server shows."""
