"""What experiments share: data, run folders, checkpoints, pictures, the command line."""
