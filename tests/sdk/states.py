"""Clients of the official Python SDK whose application loads a state with its place, and goes on
from there; one that is told that its state is not valid; and one that is cut off again and again.

    states.py URL TOKEN FORMAT BEHAVIOUR
"""

import asyncio
import json
import os
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from centrifuge import Client
from centrifuge.types import StreamPosition

from member import (
    BEHAVIOUR, FORMAT, PATIENCE_S, URL, ClientEvents, SubscriptionEvents, Wire, connected, put, sign,
    subscribed, take,
)

CUTS = 10
FAILURES = 4
SOON = {"min_resubscribe_delay": 0.02, "max_resubscribe_delay": 0.02}


class Place:
    """Where a channel stands, as a back end would keep it beside its data."""

    def __init__(self, client, channel):
        self.client, self.channel = client, channel
        self.loaded = []

    async def load(self, _):
        top = await self.client.history(self.channel, limit=0)
        self.loaded.append(top.offset)
        return StreamPosition(offset=top.offset, epoch=top.epoch)


async def say(client, channel, *values):
    for value in values:
        await client.publish(channel, put(value))


async def heard(events, count):
    return [take((await events.next("publication")).pub.data) for _ in range(count)]


async def fresh():
    channel = f"all:fresh-{FORMAT}"
    (writer, _), (reader, _) = await connected(), await connected()
    await say(writer, channel, 1, 2, 3)
    loads = []

    async def from_nowhere(name):
        loads.append(name)
        return StreamPosition(offset=0, epoch="")

    _, events, _ = await subscribed(reader, channel, get_state=from_nowhere)
    assert await heard(events, 3) == [1, 2, 3]
    assert loads == [channel], loads


async def caught_up():
    channel = f"all:caught-up-{FORMAT}"
    wire = Wire()
    (writer, _), (reader, _) = await connected(), await connected(await wire.listen())
    place = Place(writer, channel)
    _, events, _ = await subscribed(reader, channel, get_state=place.load)
    wire.cut()
    await say(writer, channel, 1, 2)
    wire.mend()
    assert (await events.next("subscribed")).recovered
    assert await heard(events, 2) == [1, 2]
    assert place.loaded == [0], place.loaded


async def lost():
    channel = f"short:lost-{FORMAT}"
    wire = Wire()
    writer, _ = await connected()
    reader, told = await connected(await wire.listen())
    place = Place(writer, channel)
    _, events, _ = await subscribed(reader, channel, get_state=place.load, **SOON)
    await told.next("connecting")
    wire.cut()
    await told.next("connecting")
    await say(writer, channel, 1, 2, 3, 4, 5)
    wire.mend()
    await events.next("subscribed")
    assert place.loaded == [0, 5], place.loaded
    await say(writer, channel, 6)
    assert await heard(events, 1) == [6]


async def failing():
    channel = f"all:failing-{FORMAT}"
    reader, _ = await connected()
    place = Place(reader, channel)
    tries = []

    async def load(name):
        tries.append(name)
        if len(tries) <= FAILURES:
            raise LookupError("no state yet")
        return await place.load(name)

    _, events, _ = await subscribed(reader, channel, get_state=load, **SOON)
    errors = [await events.next("error") for _ in range(FAILURES)]
    assert all("no state yet" in str(one.error) for one in errors), errors
    assert len(tries) == FAILURES + 1, tries
    assert events.queue("subscribing").qsize() == 1, "it was outside all the time"


async def invalidated():
    """The code says that no token is worth anything any more: the SDK asks for a new one."""
    user = f"invalidated-{FORMAT}"
    asked = []

    async def get_token():
        asked.append(1)
        return sign(sub=user)

    told = ClientEvents()
    client = Client(
        URL, events=told, token=sign(sub=user), get_token=get_token,
        use_protobuf=FORMAT == "protobuf", max_reconnect_delay=0.2, timeout=PATIENCE_S, proxy=None,
    )
    await client.connect()
    await told.next("connected")
    assert asked == []
    why = {"code": 3014, "reason": "state invalidated"}
    body = json.dumps({"user": user, "disconnect": why}).encode()
    url = f"http://{urlsplit(URL).netloc}/api/disconnect"
    request = Request(url, body, {"X-API-Key": os.environ["API_KEY"]})
    answer = await asyncio.to_thread(lambda: urlopen(request).read())
    assert json.loads(answer) == {"result": {}}, answer
    await told.next("connected")
    assert asked == [1], asked


async def cut_off():
    channel = f"all:cut-off-{FORMAT}"
    wire = Wire()
    client, told = await connected(await wire.listen())
    subscription = client.new_subscription(channel, events=(events := SubscriptionEvents()))
    await subscription.subscribe()
    await events.next("subscribed")
    for _ in range(CUTS):
        wire.cut()
        wire.mend()
        await events.next("subscribed")
    for kind in ("connecting", "connected"):
        assert told.queue(kind).qsize() == CUTS + 1, told.kinds
    assert events.queue("subscribing").qsize() == CUTS + 1, events.kinds
    await say(client, channel, 7)
    assert await heard(events, 1) == [7]


asyncio.run(globals()[BEHAVIOUR]())
