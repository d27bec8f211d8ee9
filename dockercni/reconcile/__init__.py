"""What should be done? Look at one container, compare what it should have with what it has, act on the difference."""
