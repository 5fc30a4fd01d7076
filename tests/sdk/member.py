"""Clients of the official Python SDK, one behaviour at a time.

    member.py URL TOKEN FORMAT BEHAVIOUR

Ends with 0 if the server does what it should, and with the assertion that failed if not.
"""

import asyncio
import base64
import hmac
import json
import os
import sys
import time
from urllib.parse import urlsplit

from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler
from centrifuge.exceptions import ReplyError, UnauthorizedError
from centrifuge.types import StreamPosition

URL, TOKEN, FORMAT, BEHAVIOUR = sys.argv[1:]
# How long the SDK waits for an answer: its own 5 s can be short on a busy machine.
PATIENCE_S = 30


def put(value):
    return json.dumps(value).encode() if FORMAT == "protobuf" else value


def take(data):
    return json.loads(data) if FORMAT == "protobuf" else data


class Heard:
    """What a client or a subscription is told, by kind, in order."""

    def __init__(self):
        self.kinds = {}

    def queue(self, kind):
        return self.kinds.setdefault(kind, asyncio.Queue())

    async def next(self, kind):
        return await self.queue(kind).get()


def noting(handler):
    """A handler whose events are kept, whatever they are."""
    def note(kind):
        async def on_event(self, context):
            self.queue(kind).put_nowait(context)
        return on_event

    names = [name for name in dir(handler) if name.startswith("on_")]
    return type("Noting", (Heard, handler), {name: note(name[3:]) for name in names})


ClientEvents = noting(ClientEventHandler)
SubscriptionEvents = noting(SubscriptionEventHandler)


class Wire:
    """The way to the server, which can be cut."""

    def __init__(self):
        self.is_open = True
        self.ends = []

    async def listen(self):
        server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        return f"ws://127.0.0.1:{port}{urlsplit(URL).path}"

    async def accept(self, reader, writer):
        if not self.is_open:
            writer.close()
            return
        there = await asyncio.open_connection("127.0.0.1", urlsplit(URL).port)
        self.ends += [writer, there[1]]
        await asyncio.gather(self.pass_on(reader, there[1]), self.pass_on(there[0], writer))

    async def pass_on(self, reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    def cut(self):
        self.is_open = False
        for end in self.ends:
            end.transport.abort()

    def mend(self):
        self.is_open = True


async def connected(url=URL, token=TOKEN):
    events = ClientEvents()
    client = Client(
        url, events=events, token=token, use_protobuf=FORMAT == "protobuf",
        max_reconnect_delay=0.2, timeout=PATIENCE_S, proxy=None,
    )
    await client.connect()
    return client, events


async def subscribed(client, channel, **options):
    events = SubscriptionEvents()
    subscription = client.new_subscription(channel, events=events, **options)
    await subscription.subscribe()
    return subscription, events, await events.next("subscribed")


async def code_of(operation):
    try:
        await operation
    except ReplyError as error:
        return error.code
    return None


async def talk():
    channel = f"all:talk-{FORMAT}"
    (one, _), (other, _) = await connected(), await connected()
    here, here_events, _ = await subscribed(one, channel)
    _, there_events, _ = await subscribed(other, channel)
    await here.publish(put({"text": "hello"}))
    for events in (here_events, there_events):
        pub = (await events.next("publication")).pub
        assert take(pub.data) == {"text": "hello"}, pub
        assert (pub.info.user, pub.offset) == ("python", 1), pub


async def presence():
    channel = f"all:presence-{FORMAT}"
    (one, one_told), (other, other_told) = await connected(), await connected()
    here, events, _ = await subscribed(one, channel)
    there, _, _ = await subscribed(other, channel)
    ids = {(await told.next("connected")).client for told in (one_told, other_told)}
    clients = (await here.presence()).clients
    assert set(clients) == ids and all(one.user == "python" for one in clients.values()), clients
    stats = await here.presence_stats()
    assert (stats.num_clients, stats.num_users) == (2, 1), stats
    assert {(await events.next("join")).info.client for _ in ids} == ids
    await there.unsubscribe()
    assert (await events.next("leave")).info.client in ids


async def history():
    channel = f"all:history-{FORMAT}"
    client, _ = await connected()
    subscription, events, _ = await subscribed(client, channel)
    for number in range(1, 6):
        await subscription.publish(put(number))
        await events.next("publication")
    top = await subscription.history()
    assert (top.offset, top.publications) == (5, []), top
    since = StreamPosition(offset=2, epoch=top.epoch)
    page = await subscription.history(limit=2, since=since)
    assert [take(pub.data) for pub in page.publications] == [3, 4], page
    newest = await subscription.history(limit=2, reverse=True)
    assert [pub.offset for pub in newest.publications] == [5, 4], newest
    lost = StreamPosition(offset=2, epoch="ABCDEFGH")
    assert await code_of(subscription.history(limit=1, since=lost)) == 112
    assert await code_of(client.history("plain:a", limit=1)) == 108
    assert await code_of(client.history("nowhere:a", limit=1)) == 102


async def recovery():
    channel = f"all:recovery-{FORMAT}"
    wire = Wire()
    reader, told = await connected(await wire.listen())
    _, events, first = await subscribed(reader, channel)
    assert (first.recoverable, first.positioned, first.was_recovering) == (True, True, False)
    writer, _ = await connected()
    witness, witness_events, _ = await subscribed(writer, channel)
    await told.next("connecting")
    wire.cut()
    await told.next("connecting")
    for number in range(1, 5):
        await witness.publish(put(number))
        await witness_events.next("publication")
    wire.mend()
    back = await events.next("subscribed")
    assert (back.was_recovering, back.recovered) == (True, True), back
    await witness.publish(put(5))
    heard = [(await events.next("publication")).pub for _ in range(5)]
    assert [take(pub.data) for pub in heard] == [1, 2, 3, 4, 5], heard
    assert [pub.offset for pub in heard] == [1, 2, 3, 4, 5], heard


async def resubscribed():
    channel = f"all:resubscribed-{FORMAT}"
    (reader, _), (writer, _) = await connected(), await connected()
    subscription, events, _ = await subscribed(reader, channel)
    await subscription.unsubscribe()
    assert (await events.next("unsubscribed")).code == 0
    for number in range(1, 4):
        await writer.publish(channel, put(number))
    await subscription.subscribe()
    back = await events.next("subscribed")
    assert (back.was_recovering, back.recovered) == (True, True), back
    heard = [(await events.next("publication")).pub for _ in range(3)]
    assert [take(pub.data) for pub in heard] == [1, 2, 3], heard


async def context():
    client, told = await connected()
    assert (await told.next("connecting")).code == 0
    first = await told.next("connected")
    assert len(first.client) == 36 and first.version[:1].isdigit(), first
    await client.disconnect()
    ended = await told.next("disconnected")
    assert (ended.code, ended.reason) == (0, "disconnect called"), ended
    await client.connect()
    again = await told.next("connected")
    assert again.client != first.client, again


async def server_side():
    client, told = await connected()
    context = await told.next("subscribed")
    assert context.channel == "plain:server-side", context
    await client.publish("plain:server-side", put("here"))
    publication = await told.next("publication")
    assert publication.channel == "plain:server-side", publication
    assert take(publication.pub.data) == "here", publication


async def forged():
    _, told = await connected(token=TOKEN[:-2])
    ended = await told.next("disconnected")
    assert ended.code == 3500 and ended.reason.startswith("invalid token"), ended


async def again():
    client, told = await connected()
    for _ in range(10):
        await client.disconnect()
        await told.next("disconnected")
        await client.connect()
        await client.ready()
    subscription, _, _ = await subscribed(client, f"all:again-{FORMAT}")
    for _ in range(10):
        await subscription.unsubscribe()
        await subscription.subscribe()
    await subscription.ready()
    stats = await subscription.presence_stats()
    assert (stats.num_clients, stats.num_users) == (1, 1), stats


async def many():
    client, _ = await connected()
    names = [f"plain:many-{number}-{FORMAT}" for number in range(20)]
    subscriptions = [client.new_subscription(name) for name in names]
    for _ in range(2):
        for one in subscriptions:
            await one.subscribe()
        await asyncio.gather(*(one.ready() for one in subscriptions))
        for one in subscriptions:
            await one.unsubscribe()
    client.remove_subscription(subscriptions[0])
    assert client.get_subscription(names[0]) is None and len(client.subscriptions()) == 19
    _, _, _ = await subscribed(client, names[0])


def sign(**claims):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    parts = [part(json.dumps(one).encode()) for one in ({"alg": "HS256"}, claims)]
    signed = ".".join(parts)
    digest = hmac.digest(os.environ["TOKEN_KEY"].encode(), signed.encode(), "sha256")
    return f"{signed}.{part(digest)}"


def in_seconds(seconds):
    return int(time.time()) + seconds


async def private_channel():
    channel = f"$all:private-{FORMAT}"
    client, _ = await connected()
    asked = []

    async def get_token(name):
        asked.append(name)
        return sign(sub="python", channel=name)

    expired = sign(sub="python", channel=channel, exp=in_seconds(-5))
    events = SubscriptionEvents()
    subscription = client.new_subscription(
        channel, events=events, token=expired, get_token=get_token,
    )
    await subscription.subscribe()
    assert (await events.next("error")).code is not None
    await events.next("subscribed")
    assert asked == [channel], asked
    await subscription.publish(put(7))
    assert take((await events.next("publication")).pub.data) == 7


async def prolonged():
    channel = f"$all:prolonged-{FORMAT}"
    client, _ = await connected()
    asked = []
    done = asyncio.Event()

    async def get_token(name):
        asked.append(name)
        if len(asked) == 3:
            done.set()
        life = 3 if len(asked) < 3 else 3600
        return sign(sub="python", channel=name, exp=in_seconds(life))

    subscription, events, _ = await subscribed(client, channel, get_token=get_token)
    await done.wait()
    await subscription.publish(put(7))
    assert take((await events.next("publication")).pub.data) == 7
    assert events.queue("subscribing").qsize() == 1, "it was never away"


async def refused():
    client, _ = await connected()

    async def forged(name):
        return sign(sub="python", channel=name)[:-2]

    async def nothing(_):
        raise UnauthorizedError("no")

    for number, (get_token, code) in enumerate([(None, 103), (forged, 103), (nothing, 1)]):
        events = SubscriptionEvents()
        name = f"$all:refused-{number}-{FORMAT}"
        subscription = client.new_subscription(name, events=events, get_token=get_token)
        await subscription.subscribe()
        ended = await events.next("unsubscribed")
        assert ended.code == code, ended


async def refreshed():
    asked = []
    done = asyncio.Event()

    async def get_token():
        asked.append(1)
        if len(asked) == 3:
            done.set()
        return sign(sub="python", exp=in_seconds(3 if len(asked) < 3 else 3600))

    told = ClientEvents()
    client = Client(
        URL, events=told, get_token=get_token, use_protobuf=FORMAT == "protobuf",
        timeout=PATIENCE_S, proxy=None,
    )
    await client.connect()
    await done.wait()
    await subscribed(client, f"all:refreshed-{FORMAT}")
    assert told.queue("connecting").qsize() == 1, "it was never away"


if __name__ == "__main__":
    asyncio.run(globals()[BEHAVIOUR]())
