"""The program as it is shipped: packages and sidecar, on whole hosts."""
