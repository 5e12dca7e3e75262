"""What does a developer need that nobody runs in production? Apache Kafka on this machine, from Python packages."""
