"""What runs all the time?

- `loop`: the daemon's threads, signals and settings; `jobs`: what the work queue runs.
- `work_queue`: one run at a time for each container, in parallel for several; retries.
- `starts`: starting containers and their holds, with the state diagram; `early_watch`: connects gate and tracker, and
  says why they are off where they cannot work.
- `host_watch`: which containers need a link of the host that changed? `freed`: what may have become free, so that
  failures are tried again?
- `port_holds`: keeps published ports bound.
- `report`: what reconciling came to, in the log; `heartbeat`: the status file; `notify`: the service manager.
"""
