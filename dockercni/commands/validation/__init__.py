"""What `networks validate` looks at: the text (`places`), its keys (`schemas`), what they say (`meaning`), the host."""
