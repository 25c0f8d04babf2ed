"""kcat, the command line of librdkafka, as Debian ships it. Topics are made by the harness."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

from common import BOOTSTRAP, Journal, Skip, Spread, crash_often, create_topic, equal
from common import eventually, main, unique

SESSION = ["-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=500"]
EARLIEST = ["-X", "auto.offset.reset=earliest"]


def topic(partitions=1, **config):
    name = unique("kcat")
    create_topic(name, partitions, **config)
    # A broker may know of it a moment later, and kcat does not ask a member's topic again soon.
    eventually("the topic is known", lambda: partitions_of(name) == list(range(partitions)))
    return name


def partitions_of(name):
    (listed,) = json.loads(kcat("-L", "-J", "-t", name))["topics"]
    return sorted(p["partition"] for p in listed["partitions"])


def kcat(*words, stdin=b"", code=0, seconds=25):
    """Runs to the end; returns stdout. What it said besides is in `kcat.said`."""
    done = subprocess.run(
        ["kcat", "-b", BOOTSTRAP, *words], input=stdin, capture_output=True, timeout=seconds
    )
    kcat.said = done.stderr.decode(errors="replace")
    sys.stderr.write(kcat.said)
    equal(done.returncode, code, f"exit code of kcat {' '.join(words)[:80]}")
    return done.stdout


def send(name, lines, *words):
    kcat("-P", "-t", name, *words, stdin="".join(f"{line}\n" for line in lines).encode())
    return kcat.said


def files(*contents):
    """Files, each of which is one record to kcat."""
    folder = tempfile.mkdtemp(prefix="kcat-")
    paths = [os.path.join(folder, str(n)) for n in range(len(contents))]
    for path, content in zip(paths, contents):
        with open(path, "wb") as file:
            file.write(content)
    return paths


def records(out):
    return [json.loads(line) for line in out.decode(errors="surrogateescape").splitlines()]


def read(name, *words):
    """Everything up to the end of each partition."""
    return records(kcat("-C", "-t", name, "-e", "-q", "-J", *words))


class Running:
    """A kcat that reads until it is ended; its records and its words come as they arrive."""

    def __init__(self, *words):
        self.records, self.said = [], []
        self.process = subprocess.Popen(
            ["kcat", "-b", BOOTSTRAP, "-u", "-J", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for stream, take in [(self.process.stdout, self.record), (self.process.stderr, self.say)]:
            threading.Thread(target=self.follow, args=[stream, take], daemon=True).start()

    def follow(self, stream, take):
        for line in stream:
            take(line.decode(errors="replace"))

    def record(self, line):
        self.records.append(json.loads(line))

    def say(self, line):
        self.said.append(line)
        sys.stderr.write(line)

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(20)


def produce_consume():
    name = topic(3)
    send(name, [f"k{n}:v{n}" for n in range(300)], "-K:")
    found = read(name)
    equal(
        sorted((r["key"], r["payload"]) for r in found),
        sorted((f"k{n}", f"v{n}") for n in range(300)),
        "records",
    )
    for partition in range(3):
        offsets = [r["offset"] for r in found if r["partition"] == partition]
        equal(offsets, list(range(len(offsets))), f"offsets of partition {partition}")


def keys_headers():
    name = topic()
    binary = bytes(range(256))
    send(name, ["no key"])
    send(name, [":empty key", "k:"], "-K:")
    send(name, ["tombstone:"], "-K:", "-Z")
    headers = ["-H", "b=1", "-H", "a=2", "-H", "b=3", "-H", "none", "-H", "empty="]
    kcat("-P", "-t", name, "-k", "binary", *headers, *files(binary))
    found = read(name)
    equal([r.get("key") for r in found], [None, "", "k", "tombstone", "binary"], "keys")
    values = [r["payload"] for r in found[:4]]
    equal(values, ["no key", "empty key", "", None], "values")
    expected = ["b", "1", "a", "2", "b", "3", "none", None, "empty", ""]
    equal(found[4].get("headers"), expected, "headers")
    equal(found[0].get("headers"), None, "headers of a record without")
    out = kcat("-C", "-t", name, "-o", "4", "-c", "1", "-q", "-D", "")
    equal(out, binary, "binary value")


def codec(codec_name):
    def case():
        name = topic()
        values = [f"{n} " * 200 for n in range(200)]
        said = send(name, values, "-z", codec_name, "-X", "linger.ms=50", "-d", "msg")
        # librdkafka drops to no compression, silently, when it thinks that the broker can not.
        used = set(re.findall(r"Produce MessageSet with .*, (\w+)\)", said))
        expected = "uncompressed" if codec_name == "none" else codec_name
        equal(used, {expected}, "codec on the wire")
        equal([r["payload"] for r in read(name)], values, "values")
        # From the middle of a batch: the broker sends all of it, the client drops the start.
        found = [r["payload"] for r in read(name, "-o", "127")]
        equal(found, values[127:], "values from 127")

    return case


def offset_for(name, time_ms):
    out = kcat("-Q", "-t", f"{name}:0:{time_ms}").decode()
    return int(re.search(r"offset (-?\d+)", out).group(1))


def timestamps():
    name = topic()
    before = int(time.time() * 1000)
    for value in ["one", "two", "three"]:
        send(name, [value])
        time.sleep(0.02)
    after = int(time.time() * 1000)
    found = read(name)
    times = [r["ts"] for r in found]
    equal({r["tstype"] for r in found}, {"create"}, "kinds of timestamps")
    equal(times == sorted(times) and before <= times[0] <= times[2] <= after, True, "order")
    for time_ms, offset in [(0, 0), (times[1] - 1, 1), (times[1], 1), (times[1] + 1, 2)]:
        equal(offset_for(name, time_ms), offset, f"offset for time {time_ms}")
    equal(offset_for(name, times[2] + 1), -1, "offset for a time after the last record (the end)")
    equal(offset_for(name, -2), 0, "earliest offset")
    equal(offset_for(name, -1), 3, "latest offset")


def acks():
    for level in ["0", "1", "-1"]:
        name = topic()
        values = [str(n) for n in range(20)]
        send(name, values, "-X", f"acks={level}")
        found = eventually("all are there", lambda: at_least(read(name), 20))
        equal([r["payload"] for r in found], values, f"values with acks {level}")


def at_least(found, count):
    return found if len(found) >= count else None


def idempotent():
    name = topic()
    values = [str(n) for n in range(2000)]
    options = ["enable.idempotence=true", "batch.num.messages=20", "linger.ms=0"]
    send(name, values, *[word for option in options for word in ("-X", option)])
    equal([r["payload"] for r in read(name)], values, "values")


class Joined(Running):
    """A member of a group; what it is given is read from its words."""

    def __init__(self, name, group, spread, member, *words):
        self.spread, self.member, self.rebalances = spread, member, 0
        super().__init__("-G", group, *SESSION, *EARLIEST, *words, name)

    def say(self, line):
        super().say(line)
        change = re.search(r"rebalanced \(.*?\): (assigned|revoked): (.*)", line)
        if change:
            self.rebalances += 1
            given = change.group(2) if change.group(1) == "assigned" else ""
            self.spread.set(self.member, [int(n) for n in re.findall(r"\[(\d+)\]", given)])


def seen(members):
    return sorted(int(r["payload"]) for member in members for r in member.records)


def send_to(name, partitions, count):
    """Numbers from 0 on, dealt out over the partitions."""
    for partition in range(partitions):
        send(name, range(partition, count, partitions), "-p", str(partition))


def group_three():
    name, group, spread = topic(6), unique("group"), Spread()
    members = [Joined(name, group, spread, n) for n in range(3)]
    eventually("three members share six partitions", lambda: spread.whole([0, 1, 2], 6), 40)
    send_to(name, 6, 60)
    eventually("sixty records", lambda: len(seen(members)) >= 60)
    equal(seen(members), list(range(60)), "values")
    for number, member in enumerate(members):
        partitions = {r["partition"] for r in member.records}
        equal(partitions, set(spread.owned[number]), "records come to the owner")
    members[2].end()
    eventually("two members share six partitions", lambda: spread.whole([0, 1], 6), 40)


def group_crash():
    name, group, spread = topic(4), unique("group"), Spread()
    victim, other = Joined(name, group, spread, 0), Joined(name, group, spread, 1)
    eventually("two members share four partitions", lambda: spread.whole([0, 1], 4), 40)
    victim.end(signal.SIGKILL)
    eventually("the survivor has everything", lambda: spread.whole([1], 4), 40)
    send_to(name, 4, 40)
    eventually("forty records", lambda: len(seen([other])) >= 40)
    equal(seen([other]), list(range(40)), "values")


def group_static():
    name, group, spread = topic(4), unique("group"), Spread()
    start = lambda n: Joined(name, group, spread, n, "-X", f"group.instance.id=i{n}")
    first, second = start(0), start(1)
    eventually("two members share four partitions", lambda: spread.whole([0, 1], 4), 40)
    share, before = spread.owned[0], second.rebalances
    first.end()
    time.sleep(1)
    spread.set(0, [])
    start(0)
    eventually("the member is back", lambda: spread.owned[0])
    equal(spread.owned[0], share, "partitions of the member that came back")
    time.sleep(2)
    equal(second.rebalances, before, "rebalances of the other member")


def commit_metadata():
    """kcat commits where it stopped; it has no flag for a metadata string."""
    name, group = topic(), unique("group")
    send(name, range(10))
    join = ["-G", group, "-J", *SESSION, *EARLIEST]
    first = records(kcat(*join, "-c", "4", name))
    second = records(kcat(*join, "-c", "6", name))
    equal([int(r["payload"]) for r in first], [0, 1, 2, 3], "values before the commit")
    equal([int(r["payload"]) for r in second], [4, 5, 6, 7, 8, 9], "values from the commit")


def seek_by_time():
    name = topic(2)
    for partition in "01":
        send(name, [f"old {partition}"], "-p", partition)
    time.sleep(0.05)
    start = int(time.time() * 1000)
    for partition in "01":
        send(name, [f"new {partition}"], "-p", partition)
    found = sorted(r["payload"] for r in read(name, "-o", f"s@{start}"))
    equal(found, ["new 0", "new 1"], "values from the time on")
    found = sorted(r["payload"] for r in read(name, "-o", "s@0", "-o", f"e@{start}"))
    equal(found, ["old 0", "old 1"], "values up to the time")


def too_large(name, size):
    (path,) = files(b"x" * size)
    kcat("-P", "-t", name, "-X", "message.max.bytes=20000000", path, code=1)
    equal("Message size too large" in kcat.said, True, "the error names the size")


def large_message():
    name = topic()
    value = bytes(n * 7 % 251 for n in range(900_000))
    kcat("-P", "-t", name, *files(value))
    back = lambda where: kcat("-C", "-t", where, "-c", "1", "-e", "-q", "-D", "")
    equal(back(name) == value, True, "900 kB come back")
    too_large(name, 2_000_000)
    wide = topic(**{"max.message.bytes": "5000000"})
    kcat("-P", "-t", wide, "-X", "message.max.bytes=20000000", *files(value * 4))
    equal(back(wide) == value * 4, True, "3.6 MB come back")
    too_large(wide, 6_000_000)


def many_partitions():
    name = topic(100)
    equal(partitions_of(name), list(range(100)), "partitions")
    send(name, [f"{n}:{n}" for n in range(2000)], "-K:")
    found = read(name)
    equal(sorted(int(r["payload"]) for r in found), list(range(2000)), "values")
    equal(len({r["partition"] for r in found}) > 90, True, "the keys are spread")


def auto_create():
    name = unique("kcat-auto")
    send(name, ["x"])
    equal([r["payload"] for r in read(name)], ["x"], "values")


def administration():
    raise Skip("has no administration")


def fetch_long_poll():
    name = topic()
    send(name, ["first"])
    options = ["-X", "fetch.wait.max.ms=15000", "-X", "socket.timeout.ms=30000"]
    reader = Running("-C", "-t", name, *options)
    eventually("the first record", lambda: len(reader.records) == 1)
    # By then the next fetch waits at the broker.
    time.sleep(1.5)
    start = time.monotonic()
    send(name, ["second"])
    eventually("the second record", lambda: len(reader.records) == 2)
    waited = time.monotonic() - start
    equal(waited < 3, True, f"the record came in good time ({waited:.1f} s of a wait of 15 s)")


class Arrived(Journal):
    """kcat does not tell what was acknowledged before it ends, so progress is what arrives."""

    def __init__(self, partitions, reader):
        super().__init__(partitions)
        self.reader = reader

    def total(self):
        return len(self.reader.records)


def restart():
    name = topic()
    soon = ["-X", "reconnect.backoff.max.ms=500"]
    reader = Running("-C", "-t", name, "-E", *soon)
    journal = Arrived(1, reader)
    options = ["enable.idempotence=true", "acks=all", "linger.ms=2"]
    sender = subprocess.Popen(
        ["kcat", "-b", BOOTSTRAP, "-P", "-t", name, "-E", *soon]
        + [word for option in options for word in ("-X", option)],
        stdin=subprocess.PIPE,
        bufsize=0,
    )
    stop, sent = threading.Event(), []

    def produce():
        while not stop.is_set():
            sender.stdin.write(b"%d\n" % len(sent))
            sent.append(len(sent))
            time.sleep(0.001)
        sender.stdin.close()

    producing = threading.Thread(target=produce, daemon=True)
    producing.start()
    crash_often(journal)
    stop.set()
    producing.join(10)
    equal(sender.wait(60), 0, "exit code of the sender, which says that all is acknowledged")
    for number in sent:
        journal.ack(0, number)
    eventually("all is read", lambda: len(reader.records) >= len(sent))
    journal.check({0: [int(r["payload"]) for r in reader.records]}, "while it happened")
    journal.check({0: [int(r["payload"]) for r in read(name)]}, "afterwards")


CASES = {
    "produce_consume": produce_consume,
    "keys_headers": keys_headers,
    **{f"codec_{name}": codec(name) for name in ["none", "gzip", "snappy", "lz4", "zstd"]},
    "timestamps": timestamps,
    "acks": acks,
    "idempotent": idempotent,
    "group_three": group_three,
    "group_crash": group_crash,
    "group_static": group_static,
    "commit_metadata": commit_metadata,
    "seek_by_time": seek_by_time,
    "large_message": large_message,
    "many_partitions": many_partitions,
    "auto_create": auto_create,
    "admin": administration,
    "fetch_long_poll": fetch_long_poll,
    "restart": restart,
}

main(CASES)
