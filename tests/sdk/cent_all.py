"""Every method of the server API by the official client `cent`, in its versions for programs that
wait and for those that do not, on channels that nobody else uses.

    cent_all.py URL KEY

The server keeps history and shows presence in the namespace `kept`.
"""

import asyncio
import sys
from typing import get_type_hints

from cent import (
    AsyncClient,
    BatchRequest,
    BroadcastRequest,
    CentApiResponseError,
    CentTransportError,
    CentUnauthorizedError,
    ChannelsRequest,
    Client,
    DisconnectRequest,
    HistoryRemoveRequest,
    HistoryRequest,
    InfoRequest,
    InvalidateUserTokensRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    RefreshRequest,
    RevokeTokenRequest,
    StreamPosition,
    SubscribeRequest,
    UnsubscribeRequest,
)


def requests(channel):
    """Each method, and what has to be true of its result."""
    data = {"n": 1}
    publish = PublishRequest(channel=channel, data=data, tags={"k": "v"}, idempotency_key="one")
    batch = [PublishRequest(channel=channel, data=number) for number in (2, 3)]
    since = HistoryRequest(channel=channel, limit=1, since=StreamPosition(offset=1, epoch=""))
    return [
        (publish, lambda done: done.offset == 1 and len(done.epoch) == 8),
        (publish, lambda done: done.offset == 1),
        (
            BroadcastRequest(channels=["plain", "nowhere:x"], data=data),
            lambda done: done.responses[0].error is None and done.responses[1].error.code == 102,
        ),
        (
            BatchRequest(requests=[*batch, PresenceStatsRequest(channel=channel)], parallel=True),
            lambda done: [done.replies[0].offset, done.replies[1].offset] == [2, 3]
            and done.replies[2].num_clients == 0,
        ),
        (
            HistoryRequest(channel=channel, limit=100),
            lambda done: done.offset == 3
            and [one.offset for one in done.publications] == [1, 2, 3]
            and done.publications[0].data == data
            and done.publications[0].tags == {"k": "v"},
        ),
        (since, lambda done: [one.offset for one in done.publications] == [2]),
        (HistoryRequest(channel=channel), lambda done: done.publications == []),
        (HistoryRemoveRequest(channel=channel), lambda done: True),
        (HistoryRequest(channel=channel, limit=100), lambda done: done.publications == []),
        (PresenceRequest(channel=channel), lambda done: done.presence == {}),
        (PresenceStatsRequest(channel=channel), lambda done: done.num_users == 0),
        (ChannelsRequest(pattern=channel), lambda done: done.channels == {}),
        (SubscribeRequest(user="nobody", channel=channel), lambda done: True),
        (UnsubscribeRequest(user="nobody", channel=channel), lambda done: True),
        (DisconnectRequest(user="nobody"), lambda done: True),
        (RefreshRequest(user="nobody", expired=True), lambda done: True),
        (RevokeTokenRequest(uid="nobody's"), lambda done: True),
        (InvalidateUserTokensRequest(user="nobody"), lambda done: True),
        (InfoRequest(), lambda done: len(done.nodes) == 1 and done.nodes[0].num_clients == 0),
    ]


PAID_TIER = {
    "connections", "update_user_status", "get_user_status", "delete_user_status", "block_user",
    "unblock_user", "device_register", "device_update", "device_remove", "device_list",
    "device_topic_list", "device_topic_update", "user_topic_list", "user_topic_update",
    "send_push_notification", "update_push_status", "cancel_push",
}


def refusals():
    """What is refused, with the code."""
    return [
        (PublishRequest(channel="nowhere:x", data=1), 102),
        (PublishRequest(channel="", data=1), 107),
        (HistoryRequest(channel="plain"), 108),
        (PresenceRequest(channel="plain"), 108),
        (
            HistoryRequest(
                channel="kept:refused", limit=1, since=StreamPosition(offset=1, epoch="otherone")
            ),
            112,
        ),
        (ChannelsRequest(pattern="[a"), 107),
    ]


def method(client, request):
    """The client's own method for a request."""
    return getattr(client, request.__api_method__)


def check(request, result, is_right):
    assert is_right(result), f"{request!r}: {result!r}"


def check_that_all_is_asked(client):
    """Each method is asked for, or is one of those that are not there, and say so."""
    names = {name for name in dir(Client) if not name.startswith("_")} - {"close"}
    asked = {request.__api_method__ for request, _ in requests("a")}
    assert names == asked | PAID_TIER and not asked & PAID_TIER, names ^ (asked | PAID_TIER)
    for name in PAID_TIER:
        kind = get_type_hints(getattr(Client, name))["request"]
        try:
            answer = getattr(client, name)(kind.model_construct())
        except CentTransportError as error:
            assert error.status_code == 404, f"{name}: {error}"
        else:
            raise AssertionError(f"{name}: {answer!r}")


def waiting(url, key):
    client = Client(url, key)
    check_that_all_is_asked(client)
    for request, is_right in requests("kept:waiting"):
        check(request, method(client, request)(request), is_right)
    for request, code in refusals():
        try:
            answer = method(client, request)(request)
        except CentApiResponseError as error:
            assert error.code == code, f"{request!r}: {error}"
        else:
            raise AssertionError(f"{request!r}: {answer!r}")
    try:
        Client(url, "another key").info(InfoRequest())
    except CentUnauthorizedError:
        return
    raise AssertionError("a wrong key is let in")


async def not_waiting(url, key):
    client = AsyncClient(url, key)
    for request, is_right in requests("kept:not-waiting"):
        check(request, await method(client, request)(request), is_right)


def main():
    url, key = sys.argv[1:]
    waiting(url, key)
    asyncio.run(not_waiting(url, key))
    print(len(requests("a")) * 2 + len(refusals()))


main()
