"""What does an orchestration do next, given its history? The pure core."""
