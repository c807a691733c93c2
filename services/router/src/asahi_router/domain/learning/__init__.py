"""What is learned from measured outcomes, and when it may decide. Numbers in, numbers out: numpy alone."""
