"""What mini-batches add: moments round by round, and where they settle."""
