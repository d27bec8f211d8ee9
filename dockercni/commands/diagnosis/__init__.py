"""What doctor examines: one module for each part of the host. None of them changes anything."""
