"""What are the nouns of a durable orchestration? Frozen values, no behaviour beyond their own shape.

Rules of this room:
1. Nothing here reads a clock, a random source, a log or a disk; nothing here awaits.
2. Four unions, never mixed: events are past (`events`), actions are asked for (`actions`), messages arrive
   (`messages`), work items are handed out (`work`).
"""
