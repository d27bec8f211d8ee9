"""How many keys of the built-in plugins the tests would miss: each is broken on purpose, and some case has to fail."""
