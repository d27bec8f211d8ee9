"""The same steps by the reference executables and by our plugins, each in a private host of its own."""
