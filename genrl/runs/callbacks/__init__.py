"""What SB3's ``learn`` is given beside the sockets: records, checkpoints, evaluations, progress and trackers."""
