"""What does Docker say? Its API, events and files, and containers that are being started. Decides nothing."""
