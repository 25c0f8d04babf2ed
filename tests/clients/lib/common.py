"""What the Python suites share: names, waiting, the broker's control, and the call of one case."""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import uuid

BOOTSTRAP = os.environ["BOOTSTRAP"]
SKIPPED = 77
# Within the retention of a topic, or the records could be gone before they are read.
HOUR_AGO_MS = int(time.time() * 1000) - 3_600_000


class Skip(Exception):
    """The client itself lacks what the case is about."""


def unique(what):
    """A name that no other case and no earlier run has used."""
    return f"{what}-{uuid.uuid4().hex[:12]}"


def eventually(what, probe, seconds=20.0, pause=0.05, despite=()):
    """The first true answer of `probe`, which is asked until the time is over. Exceptions of the
    kinds `despite` are no answer."""
    end = time.monotonic() + seconds
    while True:
        problem = ""
        try:
            answer = probe()
            if answer:
                return answer
        except despite as error:
            problem = f" ({error})"
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds:g} s still not: {what}{problem}")
        time.sleep(pause)


def equal(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: {shown(found)}, expected {shown(expected)}")


def shown(value):
    text = repr(value)
    return text if len(text) < 400 else text[:400] + "…"


def refused(what, kinds, call):
    """`call` must fail with one of the exceptions `kinds`."""
    try:
        call()
    except kinds as error:
        return error
    raise AssertionError(f"{what} was not refused")


def broker(verb):
    if not os.environ.get("BROKER"):
        raise Skip("this run has no control over its broker")
    subprocess.run([os.environ["BROKER"], verb], check=True, stdout=sys.stderr)


class Member:
    """A member of a group in a process of its own, so that it can vanish without a word."""

    def __init__(self, *words):
        command = [sys.executable, sys.argv[0], "member", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def line(self, start):
        """Waits for a line of the member that starts with `start`."""
        for line in self.process.stdout:
            if line.startswith(start):
                return line.strip()
        raise AssertionError(f"the member ended before it said {start}")

    def vanish(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def create_topic(name, partitions=1, **config):
    """Creates a topic for clients that can not, by one CreateTopics request of version 2."""
    host, port = BOOTSTRAP.rsplit(":", 1)
    string = lambda text: struct.pack(">h", len(text)) + text.encode()
    topic = string(name) + struct.pack(">ihii", partitions, 1, 0, len(config))
    topic += b"".join(string(key) + string(value) for key, value in config.items())
    body = struct.pack(">i", 1) + topic + struct.pack(">i?", 20000, False)
    request = struct.pack(">hhi", 19, 2, 7) + string("suite") + body
    with socket.create_connection((host, int(port)), timeout=20) as stream:
        stream.sendall(struct.pack(">i", len(request)) + request)
        answers = stream.makefile("rb")
        (size,) = struct.unpack(">i", answers.read(4))
        answer = answers.read(size)
    # Correlation, throttle time, one topic: its name, then its error.
    (error,) = struct.unpack_from(">h", answer, 4 + 4 + 4 + 2 + len(name))
    equal(error, 0, f"error code of creating {name}")


class Spread:
    """What a group has been given: the partitions of each member as the callbacks tell it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.owned = {}

    def set(self, member, partitions):
        with self.lock:
            self.owned[member] = sorted(partitions)

    def whole(self, members, partitions):
        """True when these members own everything between them, nobody nothing, nothing twice."""
        with self.lock:
            shares = [self.owned.get(member, []) for member in members]
        return all(shares) and sorted(sum(shares, [])) == list(range(partitions))


class Journal:
    """Judges a run with restarts: what was acknowledged against what was read, by partition.

    Values are the decimal numbers 0, 1, 2… in the order of sending, one sequence a partition.
    """

    def __init__(self, partitions):
        self.lock = threading.Lock()
        self.acknowledged = {partition: set() for partition in range(partitions)}
        self.failures = []

    def ack(self, partition, number):
        with self.lock:
            self.acknowledged[partition].add(number)

    def fail(self, text):
        with self.lock:
            self.failures.append(str(text))

    def total(self):
        with self.lock:
            return sum(map(len, self.acknowledged.values()))

    def check(self, read, who):
        """`read` maps a partition to the numbers in the order in which they were read."""
        for partition, acknowledged in self.acknowledged.items():
            numbers = read.get(partition, [])
            lost = sorted(acknowledged - set(numbers))
            twice = len(numbers) - len(set(numbers))
            where = f"{who}, partition {partition}"
            if lost:
                raise AssertionError(f"{where}: lost {len(lost)} acknowledged, first {lost[0]}")
            if twice:
                raise AssertionError(f"{where}: {twice} read more than once")
            if numbers != sorted(numbers):
                raise AssertionError(f"{where}: out of order")


def crash_often(journal, times=int(os.environ.get("RESTARTS", 3)), records=300):
    """Kills the broker while records flow: before, between and after there is progress."""
    for crash in range(times + 1):
        enough = journal.total() + records
        eventually("records are acknowledged", lambda: journal.total() > enough, 40)
        if crash < times:
            broker("kill")
            broker("start")
    print(f"{journal.total()} records were acknowledged through {times} kills", file=sys.stderr)


def main(cases, member=None):
    """Runs the case that the command line names; see lib/cases for what the exit codes mean."""
    name, words = sys.argv[1], sys.argv[2:]
    if name == "member":
        member(*words)
        return
    code = 0
    try:
        cases[name]()
    except Skip as skip:
        print(skip)
        code = SKIPPED
    except BaseException as error:
        traceback.print_exc()
        text = " ".join(str(error).split())
        print(text if isinstance(error, AssertionError) else f"{type(error).__name__}: {text}")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # A client's threads may still be busy with the broker; the case is over all the same.
    os._exit(code)
