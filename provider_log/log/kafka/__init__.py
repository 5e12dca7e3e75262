"""A log on Apache Kafka: the same promises as the embedded one, kept by brokers."""

from provider_log.log.kafka.log import KafkaLog
from provider_log.log.kafka.security import ClientSettings
from provider_log.log.kafka.topics import TopicState, Unfit, unfit

__all__ = ["ClientSettings", "KafkaLog", "TopicState", "Unfit", "unfit"]
