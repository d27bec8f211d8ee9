"""How many keys of the native plugins the tests would miss: each is broken on purpose, and some case has to fail."""
