"""What is true on a broker: a real one, started for the tests or named by KAFKA_BOOTSTRAP."""
