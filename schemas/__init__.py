"""Which records does the log hold? Avro schemas, the public contract."""
