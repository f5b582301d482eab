"""Receives signals by webhook and acts on each once, whatever is sent twice or killed.

`WEBHOOK_SECRET=… python webhook_receiver.py PORT acted.db` listens on this host. What a signal brings
about is written in the transaction that remembers its id, so that both are there or neither.
"""

import hashlib
import hmac
import os
import sqlite3
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LATE_SECONDS = 300


def is_signed(secret: bytes, header: str, body: bytes, now: float) -> bool:
    """Whether a body was sent by who has the secret, and lately."""
    fields = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    t, given = fields.get("t", ""), fields.get("v1", "")
    if not t.isdigit() or abs(now - int(t)) > LATE_SECONDS:
        return False
    expected = hmac.new(secret, f"{t}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, given)


def opened(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, body BLOB NOT NULL)")
    db.execute("CREATE TABLE IF NOT EXISTS acts (at REAL NOT NULL, what BLOB NOT NULL)")
    return db


def taken(db: sqlite3.Connection, key: str, body: bytes) -> int:
    """The answer to a message: 200, also for one that was seen; 409 for an id with other bytes."""
    db.execute("BEGIN IMMEDIATE")
    try:
        seen = db.execute("SELECT body FROM seen WHERE id = ?", (key,)).fetchone()
        if seen is None:
            db.execute("INSERT INTO seen VALUES (?, ?)", (key, body))
            db.execute("INSERT INTO acts VALUES (?, ?)", (time.time(), body))  # what you do
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return 200 if seen is None or seen[0] == body else 409


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    secret = b""
    path_of_db = ""

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 1_000_000))
        if not is_signed(
            self.secret, self.headers.get("X-Openbell-Signature", ""), body, time.time()
        ):
            self.answer(401)
            return
        db = opened(self.path_of_db)
        try:
            self.answer(taken(db, self.headers["Idempotency-Key"], body))
        finally:
            db.close()

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    Handler.secret = os.environ["WEBHOOK_SECRET"].encode()
    port, Handler.path_of_db = int(sys.argv[1]), sys.argv[2]
    opened(Handler.path_of_db).close()
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"listens on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
