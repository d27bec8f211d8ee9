"""What doctor looks at: one module for each part of the host, none of which changes anything."""
