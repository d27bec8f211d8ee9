"""What runs all the time? The loop, the work queue, starts, port holds, the heartbeat."""
