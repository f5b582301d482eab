"""A process that holds a lease, for tests to stop and to kill.

    python store_writer.py URL NAME hold     obeys lines on stdin: `commit N`, `renew`
    python store_writer.py URL NAME loop     commits for as long as it lives

It prints a line for each thing done: `fence N`, `ok N`, `dup N`, or the name of an error.
"""

from __future__ import annotations

import sys
import time

from store_records import a_full_record, taken

from openbell.adapters.stores import LeaseHeld, Store, Unavailable, open_store
from openbell.errors import StoreError


def hold(store: Store, fence: int) -> None:
    for line in sys.stdin:
        verb, *number = line.split()
        try:
            if verb == "renew":
                store.renew(fence)
                say("renewed")
            else:
                say(f"{store.commit(fence, a_full_record(int(number[0])))} {number[0]}")
        except StoreError as error:
            say(type(error).__name__)


def loop(store: Store, fence: int) -> None:
    number = store.head().commit
    while True:
        number += 1
        record = a_full_record(number)
        while True:
            try:
                say(f"{store.commit(fence, record)} {number}")
                break
            except Unavailable:
                time.sleep(0.01)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    url, name, mode = sys.argv[1:]
    store = open_store(url, name)
    try:
        fence = taken(store)
    except LeaseHeld:
        say("LeaseHeld")
        return
    say(f"fence {fence}")
    (hold if mode == "hold" else loop)(store, fence)


if __name__ == "__main__":
    main()
