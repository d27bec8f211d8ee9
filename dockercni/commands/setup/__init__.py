"""How a host gets and loses the service: what is to be done (`plan`), and its doing (`effects`)."""
