"""A client of the official Python SDK that stays connected while the server's binary is replaced.

    upgrade.py URL TOKEN FORMAT CHANNEL

Asks for each upgrade by a line on its output, and goes on when a line has come on its input.
"""

import asyncio
import sys

from member import BEHAVIOUR as CHANNEL
from member import connected, put, subscribed, take

UPGRADES = 3
# Publications between two upgrades, at least.
BETWEEN = 20


async def upgraded():
    print("upgrade", flush=True)
    line = await asyncio.to_thread(sys.stdin.readline)
    assert line == "done\n", line


async def main():
    (speaker, speaker_told), (listener, listener_told) = await connected(), await connected()
    _, events, _ = await subscribed(listener, CHANNEL)
    count, is_over = 0, False

    async def publish():
        nonlocal count
        while not is_over:
            await speaker.publish(CHANNEL, put(count))
            count += 1

    async def hear(numbers):
        for number in numbers:
            publication = (await events.next("publication")).pub
            assert take(publication.data) == number, (publication, number)

    publishing = asyncio.create_task(publish())
    heard = 0
    for _ in range(UPGRADES):
        await hear(range(heard, heard + BETWEEN))
        heard += BETWEEN
        await upgraded()
    heard_then = max(count, heard) + BETWEEN
    await hear(range(heard, heard_then))
    is_over = True
    await publishing
    await hear(range(heard_then, count))
    for told in (speaker_told, listener_told):
        # Of the beginning.
        assert told.queue("connecting").qsize() == 1, told.kinds
        assert told.queue("disconnected").empty(), told.kinds
    assert events.queue("subscribing").qsize() == 1, events.kinds
    assert events.queue("publication").empty(), "nothing twice"


asyncio.run(main())
