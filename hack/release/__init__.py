"""What a release does, one command for each step of its workflow."""
