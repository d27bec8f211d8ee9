"""What do processes share that work beside the daemon, outlive it, and serve the next one?"""
