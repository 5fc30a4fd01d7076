"""Publishes and broadcasts to a channel and asks for the nodes, by the official client `cent`.

    publish.py URL KEY CHANNEL
"""

import json
import sys

from cent import BroadcastRequest, Client, InfoRequest, PublishRequest


def main():
    url, key, channel = sys.argv[1:]
    client = Client(url, key)
    client.publish(PublishRequest(channel=channel, data={"from": "publish"}))
    answer = client.broadcast(BroadcastRequest(channels=[channel], data={"from": "broadcast"}))
    assert all(response.error is None for response in answer.responses), answer
    info = client.info(InfoRequest())
    print(json.dumps({"nodes": len(info.nodes)}))


main()
