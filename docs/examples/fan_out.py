"""Many activities at once, and one result: asyncio's own `gather` works, in the order of what was asked.

Prints:
    the words of 3 chapters: 12 + 7 + 9 = 28
"""

import asyncio
import tempfile

from engine import Client, Engine, OrchestrationContext, Registry, activity, orchestration
from provider_log import LogProvider

CHAPTERS = {
    "loomings": "Call me Ishmael. Some years ago, never mind how long precisely, having",
    "the carpet-bag": "I stuffed a shirt or two into",
    "the spouter-inn": "Entering that gable-ended inn, you found yourself in a",
}


@activity
def count_words(chapter: str) -> int:
    return len(CHAPTERS[chapter].split())


@orchestration
async def count_book(ctx: OrchestrationContext, chapters: list[str]) -> list[int]:
    return await asyncio.gather(*(ctx.schedule_activity(count_words, chapter) for chapter in chapters))


async def main() -> None:
    registry = Registry(orchestrations=[count_book], activities=[count_words])
    with tempfile.TemporaryDirectory() as data:
        async with LogProvider.embedded(data) as provider, Engine(provider, registry):
            book = await Client(provider).start(count_book, list(CHAPTERS))
            counts = await book.wait()
            print(f"the words of {len(counts)} chapters: {' + '.join(map(str, counts))} = {sum(counts)}")


if __name__ == "__main__":
    asyncio.run(main())
