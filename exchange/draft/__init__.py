"""`exchange contract draft`: a first contract for a table, made from the table itself."""
