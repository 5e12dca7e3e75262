"""What do the tests of a cluster share? The broker that the tests on Kafka have."""

from tests.kafka.conftest import bootstrap

__all__ = ["bootstrap"]
