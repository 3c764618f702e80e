"""The JSON API: what the console, the command line and other monitoring read."""
