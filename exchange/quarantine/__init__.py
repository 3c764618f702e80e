"""What was refused: reading it as the department's steward, and sending it through the bus again."""
