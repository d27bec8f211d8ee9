"""What `networks validate` checks: positions in the text (`places`), keys (`schemas`), values (`meaning`), the host."""
