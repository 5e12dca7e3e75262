"""What is a durable orchestration? The engine: model, replay, runtime and the provider port."""
