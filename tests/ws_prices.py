"""A process with a WebSocket that sends what it reads from stdin, a line each, to all who subscribed."""

from __future__ import annotations

import json
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

subscribed: set[ServerConnection] = set()
lock = threading.Lock()


def take(client: ServerConnection) -> None:
    assert json.loads(client.recv())["op"] == "subscribe"
    with lock:
        subscribed.add(client)
        print("subscribed", flush=True)
    try:
        client.recv()  # until it goes
    except ConnectionClosed:
        pass
    with lock:
        subscribed.discard(client)


def main() -> None:
    server = serve(take, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.socket.getsockname()[1], flush=True)
    for line in sys.stdin:
        with lock:
            for client in tuple(subscribed):
                try:
                    client.send(line)
                except ConnectionClosed:
                    subscribed.discard(client)
    server.shutdown()


if __name__ == "__main__":
    main()
