"""Sessions that `longwire bench` has none of: in the middle of a message, and slow to read."""

import json
import socket
import struct
import urllib.request

# A slow one's window: what does not fit waits in the server, and moves with the session.
RECEIVE_BYTES = 4096
# Of one publication for the slow, and how many of them wait during each upgrade: together less than
# what a session may have unsent (`client.queue_max_size`, 1 MiB).
SLOW_BYTES = 16 * 1024
SLOW_PUBLICATIONS = 40
PATIENCE_SECONDS = 30


class Session:
    """A session of the client protocol (JSON) over a plain socket."""

    def __init__(self, address, receive_bytes=None):
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE_SECONDS)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(address)
        self.arrived = b""
        self.lines = []
        self.id = 1
        self.socket.sendall(b"GET /connection/websocket HTTP/1.1\r\nHost: a\r\n"
                            b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
                            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                            b"Sec-WebSocket-Version: 13\r\n\r\n")
        while b"\r\n\r\n" not in self.arrived:
            self.receive()
        head, self.arrived = self.arrived.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 101"):
            raise OSError(head.decode(errors="replace"))
        self.socket.sendall(frame('{"id":1,"connect":{}}'))
        self.line()

    def receive(self):
        arrived = self.socket.recv(1 << 16)
        if not arrived:
            raise OSError("ended by the server")
        self.arrived += arrived

    def message(self):
        """The next message; the server sends each in one frame, below 64 KiB."""
        while True:
            size, head = -1, 2
            if len(self.arrived) >= 2:
                size = self.arrived[1]
                if size == 126:
                    head = 4
                    size = (struct.unpack(">H", self.arrived[2:4])[0]
                            if len(self.arrived) >= 4 else -1)
            if 0 <= size <= len(self.arrived) - head:
                kind, text = self.arrived[0] & 15, self.arrived[head:head + size]
                self.arrived = self.arrived[head + size:]
                if kind != 1:
                    raise OSError(f"a frame of kind {kind}: {text!r}")
                return text
            self.receive()

    def line(self):
        """The next line that is no ping; pings are answered."""
        while True:
            while not self.lines:
                self.lines = self.message().split(b"\n")
            line = json.loads(self.lines.pop(0))
            if line:
                return line
            self.socket.sendall(frame("{}"))


class Torn(Session):
    """Sends a part of a command, and the rest behind the upgrade."""

    def begin(self, part_bytes):
        self.id += 1
        command = frame(f'{{"id":{self.id},"publish":{{"channel":"torn","data":1}}}}')
        self.rest = command[part_bytes:]
        self.socket.sendall(command[:part_bytes])

    def finish(self):
        self.socket.sendall(self.rest)
        reply = self.line()
        if reply != {"id": self.id, "publish": {}}:
            raise OSError(f"another answer: {reply}")


class Slow(Session):
    """Reads behind the upgrade what was published before it."""

    def __init__(self, address):
        super().__init__(address, RECEIVE_BYTES)
        self.last = 0
        self.socket.sendall(frame('{"id":2,"subscribe":{"channel":"slow"}}'))
        self.line()

    def catch_up(self, last):
        while self.last < last:
            line = self.line()
            number = line.get("push", {}).get("pub", {}).get("data", {}).get("n")
            if number != self.last + 1:
                raise OSError(f"{number} came behind {self.last}: {str(line)[:200]}")
            self.last = number


class Crowd:
    """So many of both. What goes wrong with one is a fault, and the end of it."""

    def __init__(self, address, key, torn, slow):
        self.address, self.key = address, key
        self.torn = [Torn(address) for _ in range(torn)]
        self.slow = [Slow(address) for _ in range(slow)]
        self.published = 0
        self.faults = []

    def begin(self):
        for number, one in enumerate(self.torn):
            one.begin(1 + number % 40)
        for _ in range(SLOW_PUBLICATIONS):
            self.publish()

    def finish(self):
        self.torn = self.each(self.torn, lambda one: one.finish())
        self.slow = self.each(self.slow, lambda one: one.catch_up(self.published))

    def publish(self):
        self.published += 1
        data = {"n": self.published, "x": "x" * SLOW_BYTES}
        host, port = self.address
        request = urllib.request.Request(
            f"http://{host}:{port}/api/publish",
            json.dumps({"channel": "slow", "data": data}).encode(),
            {"X-API-Key": self.key, "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            if "result" not in json.load(answer):
                self.faults.append(f"publication {self.published} was not taken")

    def each(self, members, step):
        left = []
        for member in members:
            try:
                step(member)
                left.append(member)
            except (OSError, ValueError) as error:
                self.faults.append(f"{type(member).__name__.lower()}: {error}")
        return left


def frame(text):
    """As a client sends it, masked with zeros; below 126 bytes."""
    text = text.encode()
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text
