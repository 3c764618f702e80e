"""The functions behind `exchange <command>`, one module per group; exchange/cli.py names them."""
