"""What is true of several nodes: real processes that share the partitions of one application on a real broker."""
