"""What does Docker say? Its API, events and files, and starting containers. Decides nothing about networks.

- The API: `client` (the only user of the SDK), `api` (answers as records; pure), `events` (the event stream).
- The engine's own files, which are there before it answers: `data_root`, `image_labels`.
- Starting containers: `start_watch` (cgroup appears, namespace found; the state diagram), `start_proof` (did the
  engine's runtime make this process?).
"""
