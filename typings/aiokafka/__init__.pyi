# What provider_log/log/kafka uses of aiokafka, which comes without types. The shapes of answers are those of the
# versions that a broker from 4.0 on is asked in.
__version__: str
