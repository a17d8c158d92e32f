"""The bare floor: fetch in batches, post on 16 threads, record nothing. Prints the seconds that it took.

`python -m tests.bench.floor HOST PORT USER URL`. What a program on this machine cannot beat by much, whatever it
leaves out; one connection to the server, one session a thread, as simple as the libraries allow.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from queue import Queue
from threading import Thread

import requests
from imapclient import IMAPClient

from tests.support.dovecot import PASSWORD

BATCH, THREADS = 50, 16
ASKED = 'Judge. Answer with {"importance_score": <integer>, "spam_score": <integer>}.'
ITEMS = ["BODY.PEEK[HEADER]", "BODY.PEEK[TEXT]<0.8192>"]


def main() -> None:
    host, port, user, url = sys.argv[1:]
    client = IMAPClient(host, int(port), ssl=False, use_uid=True)
    client.login(user, PASSWORD)
    client.select_folder("INBOX", readonly=True)
    began = time.perf_counter()
    uids = client.search()
    texts: Queue[str | None] = Queue(4 * BATCH)
    threading.excepthook = fail
    threads = [Thread(target=post, args=(url, texts)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for place in range(0, len(uids), BATCH):
        for row in client.fetch(uids[place : place + BATCH], ITEMS).values():
            texts.put(b"".join(row[key] for key in row if key.startswith(b"BODY[")).decode("utf-8", "replace"))
    for _ in threads:
        texts.put(None)
    for thread in threads:
        thread.join()
    print(time.perf_counter() - began)
    client.logout()


def fail(failed: threading.ExceptHookArgs) -> None:
    """Without its threads the floor would wait for ever, or seem to be fast."""
    threading.__excepthook__(failed)
    os._exit(1)


def post(url: str, texts: Queue[str | None]) -> None:
    with requests.Session() as session:
        while (text := texts.get()) is not None:
            messages = [{"role": "system", "content": ASKED}, {"role": "user", "content": text}]
            reply = session.post(f"{url}/chat/completions", json={"model": "bench", "messages": messages}, timeout=60)
            json.loads(reply.json()["choices"][0]["message"]["content"])["importance_score"]


if __name__ == "__main__":
    main()
