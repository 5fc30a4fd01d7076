"""A client of the official Python SDK that loses three publications of ten and three
acknowledgements of ten, and applies what it hears by the README's recipe (in the environment).

    lossy.py URL TOKEN FORMAT NAME
"""

import asyncio
import hashlib
import os

from member import BEHAVIOUR, FORMAT, connected, put, sign, take

COUNT, SALT, LOST_OF_256 = (int(os.environ[name]) for name in ("COUNT", "SALT", "LOST_OF_256"))


class Losses:
    """What is lost: the same in every run, whatever comes first."""

    def __init__(self):
        self.attempts = {}
        self.lost = {"delivery": 0, "ack": 0}

    def take(self, kind, number):
        attempt = self.attempts[kind, number] = self.attempts.get((kind, number), 0) + 1
        words = f"{SALT}:{kind}:{number}:{attempt}"
        is_lost = hashlib.sha256(words.encode()).digest()[0] < LOST_OF_256
        self.lost[kind] += is_lost
        return is_lost


class Lossy:
    """A client and a subscription as the recipe sees them."""

    def __init__(self, client, subscription):
        self.client, self.subscription = client, subscription
        self.channel = subscription.channel
        self.events = self
        self.losses = Losses()
        self.numbers = {}
        self.answered = asyncio.Queue()
        subscription.events.on_publication = self.hear

    async def hear(self, context):
        number = take(context.pub.data)
        self.numbers[context.pub.tags["lw_id"]] = number
        if not self.losses.take("delivery", number):
            await self.on_publication(context)

    async def rpc(self, method, data):
        number = self.numbers[take(data)["ids"][0]]
        if self.losses.take("ack", number):
            raise ConnectionError("lost")
        answer = await self.client.rpc(method, data)
        assert take(answer.data) == {}, answer
        self.answered.put_nowait(number)


async def main():
    recipe = {}
    exec(os.environ["RECIPE"], recipe)
    channel = f"acked:{BEHAVIOUR}-{FORMAT}"
    client, _ = await connected()
    subscription = client.new_subscription(channel)
    lossy = Lossy(client, subscription)
    applied = []
    recipe["once"](lossy, lossy, set(), lambda data: applied.append(take(data)), put)
    await subscription.subscribe()
    await subscription.ready()
    writer, _ = await connected(token=sign(sub="writer"))
    for number in range(1, COUNT + 1):
        await writer.publish(channel, put(number))
    acknowledged = [await lossy.answered.get() for _ in range(COUNT)]
    assert sorted(acknowledged) == sorted(applied) == list(range(1, COUNT + 1)), applied
    assert min(lossy.losses.lost.values()) * 4 >= COUNT, lossy.losses.lost


asyncio.run(main())
