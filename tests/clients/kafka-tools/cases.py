"""Kafka's own command-line tools, each run as a process like its script in Kafka's distribution."""

import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import common
from common import BOOTSTRAP, Skip, create_topic, equal, eventually, unique

TARGET = pathlib.Path(os.environ["TARGET"])
HERE = pathlib.Path(__file__).resolve().parent
ARCHIVE = TARGET / "classes.jsa"
PATIENCE_S = 40
LONG_AGO_MS = 1_700_000_000_000

CLASSES = {
    "kafka-topics": "TopicCommand",
    "kafka-configs": "ConfigCommand",
    "kafka-consumer-groups": "consumer.group.ConsumerGroupCommand",
    "kafka-groups": "GroupsCommand",
    "kafka-get-offsets": "GetOffsetShell",
    "kafka-delete-records": "DeleteRecordsCommand",
    "kafka-log-dirs": "LogDirsCommand",
    "kafka-broker-api-versions": "BrokerApiVersionsCommand",
    "kafka-cluster": "ClusterTool",
    "kafka-console-producer": "ConsoleProducer",
    "kafka-console-consumer": "consumer.ConsoleConsumer",
    "kafka-verifiable-producer": "VerifiableProducer",
    "kafka-verifiable-consumer": "VerifiableConsumer",
}


def command(name, *words, archive=f"-XX:SharedArchiveFile={ARCHIVE}"):
    java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", archive]
    java += [f"-Dlog4j2.configurationFile={HERE}/log4j2.properties", "-cp", f"{TARGET}/lib/*"]
    # This one has verbs before its options.
    verbs = [words[0]] if name == "kafka-cluster" else []
    words = words[len(verbs) :]
    tool = "org.apache.kafka.tools." + CLASSES[name]
    return [*java, tool, *verbs, "--bootstrap-server", BOOTSTRAP, *words]


def attempt(name, *words, stdin=""):
    return subprocess.run(
        command(name, *map(str, words)),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def tool(name, *words, stdin=""):
    """What the tool prints. Some report failures in words only, with exit code 0."""
    done = attempt(name, *words, stdin=stdin)
    sys.stderr.write(done.stderr)
    # A warning is about something that will be tried again.
    said = re.sub(r"^\[.*\] WARN .*$", "", done.stdout + done.stderr, flags=re.M)
    wrong = re.search(r"^.*(Exception|Error( while|:)).*$", said, re.M)
    if done.returncode != 0 or wrong:
        why = wrong[0] if wrong else said.strip()[-300:]
        raise AssertionError(f"{name} {' '.join(map(str, words))}: {why}")
    return done.stdout


def refuses(expected, name, *words):
    done = attempt(name, *words)
    if expected not in done.stdout + done.stderr:
        raise AssertionError(f"{name} did not say {expected}: {done.stdout}{done.stderr}")


def archive():
    """Keeps the classes that a first call has loaded."""
    words = command("kafka-topics", "--list", archive=f"-XX:ArchiveClassesAtExit={ARCHIVE}")
    subprocess.run(words, stdout=sys.stderr, check=True)


def new_topic(partitions=1, **config):
    name = unique("tools")
    config = {key.replace("_", "."): str(value) for key, value in config.items()}
    create_topic(name, partitions, **config)
    return name


def fill(topic, lines, *words):
    text = "".join(f"{line}\n" for line in lines)
    tool("kafka-console-producer", "--topic", topic, *words, stdin=text)


def read(topic, count, *words, start="--from-beginning"):
    """The next `count` lines; a record too many would be among those of a later call."""
    words = ("--topic", topic, "--max-messages", count, "--timeout-ms", 20_000, *words)
    start = [start] if isinstance(start, str) else start
    lines = tool("kafka-console-consumer", *words, *start).splitlines()
    equal(len(lines), count, "lines read")
    return lines


def fill_at(topic, *times):
    """Records of given times: only the verifiable producer can say one."""
    for at in times:
        words = ("--topic", topic, "--max-messages", 1, "--message-create-time", at)
        tool("kafka-verifiable-producer", *words)


def offsets(topic, *words):
    """partition → offset"""
    lines = tool("kafka-get-offsets", "--topic", topic, *words).splitlines()
    return {int(line.split(":")[1]): int(line.split(":")[2]) for line in lines}


def rows(text, *columns):
    """The wanted columns of a table."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    at = next(n for n, line in enumerate(lines) if all(column in line for column in columns))
    return [[line[lines[at].index(c)] for c in columns] for line in lines[at + 1 :]]


class Background:
    """A verifiable tool that runs on, and the events that it prints as lines of JSON."""

    def __init__(self, name, *words):
        self.events = []
        self.process = subprocess.Popen(
            command(name, *map(str, words)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
        )
        threading.Thread(target=self.collect, daemon=True).start()

    def collect(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                self.events.append(json.loads(line))

    def named(self, name):
        return [event for event in list(self.events) if event["name"] == name]

    def owned(self):
        """The partitions of a consumer, as far as it was told."""
        owned = set()
        for event in list(self.events):
            partitions = {part["partition"] for part in event.get("partitions", [])}
            if event["name"] == "partitions_assigned":
                owned |= partitions
            elif event["name"] == "partitions_revoked":
                owned -= partitions
        return owned

    def count(self):
        return sum(event["count"] for event in self.named("records_consumed"))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.terminate()
        equal(self.process.wait(PATIENCE_S) in (0, 143), True, "a good end")


def consumer(topic, group, *words):
    base = ("--topic", topic, "--group-id", group, "--reset-policy", "earliest")
    return Background("kafka-verifiable-consumer", *base, "--session-timeout", 6000, *words)


def shared(members, partitions):
    """True when they own everything between them, and each has its share."""
    shares = [member.owned() for member in members]
    fair = all(len(share) == partitions // len(members) for share in shares)
    return fair and set().union(*shares) == set(range(partitions))


def produce_consume():
    topic = new_topic(3)
    lines = [f"line {number}" for number in range(1000)]
    fill(topic, lines)
    equal(sorted(read(topic, 1000)), sorted(lines), "lines")
    said = tool("kafka-verifiable-producer", "--topic", topic, "--max-messages", 500)
    equal(json.loads(said.splitlines()[-1])["acked"], 500, "acknowledged")
    equal(sum(offsets(topic).values()), 1500, "records")


def keys_headers():
    topic = new_topic()
    lines = ["b:first,a:x,b:second|key|value", "h:NULL|NULL|NULL", "h:||"]
    properties = ["parse.key=true", "parse.headers=true", "null.marker=NULL"]
    properties += ["key.separator=|", "headers.delimiter=|"]
    fill(topic, lines, *(word for p in properties for word in ("--reader-property", p)))
    shown = ["print.key=true", "print.headers=true", "key.separator=|", "null.literal=NULL"]
    shown += ["headers.separator=,", "print.partition=true"]
    found = read(topic, 3, *(word for p in shown for word in ("--formatter-property", p)))
    expected = ["b:first,a:x,b:second|key|value", "h:NULL|NULL|NULL", "h:||"]
    equal(found, [f"Partition:0|{line}" for line in expected], "records")


def codec(name):
    topic = new_topic()
    lines = [f"{number} can be compressed very well. " * 20 for number in range(500)]
    fill(topic, lines, "--compression-codec", name)
    equal(read(topic, 500), lines, "lines")
    raw = sum(map(len, lines))
    said = tool("kafka-log-dirs", "--describe", "--topic-list", topic)
    node = json.loads(said.splitlines()[-1])["brokers"][0]
    size = sum(part["size"] for place in node["logDirs"] for part in place["partitions"])
    equal(size > raw // 2, name == "none", f"{size} bytes on disk of {raw} are more than half")


def timestamps():
    topic = new_topic()
    fill_at(topic, LONG_AGO_MS, LONG_AGO_MS + 1000, LONG_AGO_MS + 2000)
    found = read(topic, 3, "--formatter-property", "print.timestamp=true")
    times = [LONG_AGO_MS + 1000 * number for number in range(3)]
    equal([line.split()[0] for line in found], [f"CreateTime:{at}" for at in times], "times")
    equal(offsets(topic, "--time", LONG_AGO_MS + 1001), {0: 2}, "offset of a time")
    equal(offsets(topic, "--time", LONG_AGO_MS + 2001), {}, "offset after the last")
    equal(offsets(topic, "--time", "max-timestamp"), {0: 2}, "offset of the newest")


def acks():
    for acks in (0, 1, -1):
        topic = new_topic()
        words = ("--topic", topic, "--max-messages", 100, "--acks", acks)
        tool("kafka-verifiable-producer", *words)
        eventually("100 records", lambda: offsets(topic) == {0: 100})


def idempotent():
    """The console producer is idempotent by default; small batches follow each other closely."""
    topic = new_topic()
    lines = [str(number) for number in range(5000)]
    fill(topic, lines, "--command-property", "batch.size=100", "--command-property", "linger.ms=0")
    equal(read(topic, 5000), lines, "lines")


def group_three():
    topic, group = new_topic(6), unique("three")
    members = [consumer(topic, group) for _ in range(3)]
    eventually("two partitions each", lambda: shared(members, 6), PATIENCE_S)
    fill(topic, range(600))
    eventually("600 records", lambda: sum(m.count() for m in members) >= 600, PATIENCE_S)
    equal(sum(member.count() for member in members), 600, "records")
    for member in members:
        member.end()


def group_crash():
    topic, group = new_topic(6), unique("crash")
    members = [consumer(topic, group) for _ in range(2)]
    eventually("three partitions each", lambda: shared(members, 6), PATIENCE_S)
    members[0].kill()
    eventually("all partitions", lambda: shared(members[1:], 6), PATIENCE_S)
    fill(topic, range(60))
    eventually("60 records", lambda: members[1].count() == 60, PATIENCE_S)


def group_static():
    topic, group = new_topic(4), unique("static")
    words = ("--session-timeout", 30_000, "--assignment-strategy")
    words += ("org.apache.kafka.clients.consumer.RangeAssignor", "--group-instance-id")
    going = consumer(topic, group, *words, "first")
    staying = consumer(topic, group, *words, "second")
    eventually("two partitions each", lambda: shared([going, staying], 4), PATIENCE_S)
    owned, assignments = going.owned(), len(staying.named("partitions_assigned"))
    going.kill()
    again = consumer(topic, group, *words, "first")
    eventually("its partitions again", lambda: again.owned() == owned, PATIENCE_S)
    fill(topic, range(40))
    eventually("40 records", lambda: again.count() + staying.count() >= 40, PATIENCE_S)
    equal(len(staying.named("partitions_assigned")), assignments, "assignments of the other")


def commit_metadata():
    """No tool writes metadata; that a group resumes, and has its lag told, is shown here."""
    topic, group = new_topic(), unique("commit")
    fill(topic, range(10))
    reset(group, topic, "--to-offset", 7)
    equal(read(topic, 3, "--group", group, start=[]), ["7", "8", "9"], "lines after the offset")
    fill(topic, range(5))
    said = tool("kafka-consumer-groups", "--describe", "--group", group)
    found = rows(said, "TOPIC", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG")
    equal(found, [[topic, "10", "15", "5"]], "group")


def reset(group, topic, *how):
    """The new offset of each partition."""
    words = ("--reset-offsets", "--group", group, "--topic", topic, *how, "--execute")
    found = rows(tool("kafka-consumer-groups", *words), "PARTITION", "NEW-OFFSET")
    return {int(partition): int(offset) for partition, offset in found}


def seek_by_time():
    topic, group = new_topic(), unique("seek")
    fill_at(topic, LONG_AGO_MS, LONG_AGO_MS + 1000, LONG_AGO_MS + 2000, LONG_AGO_MS + 3000)
    # LONG_AGO_MS and a half second more than one.
    at = "2023-11-14T22:13:21.500+00:00"
    equal(reset(group, topic, "--to-datetime", at), {0: 2}, "offset of a date")
    equal(len(read(topic, 2, "--group", group, start=[])), 2, "lines from that time")


def large_message():
    topic, larger = new_topic(), new_topic(max_message_bytes=3_000_000)
    size = ("--command-property", "max.request.size=10000000")
    lines = ["x" * 900_000, "after"]
    fill(topic, lines[:1])
    done = attempt("kafka-console-producer", "--topic", topic, *size, stdin="x" * 2_000_000)
    if "RecordTooLargeException" not in done.stderr:
        raise AssertionError("2 MB were not refused as too large: " + done.stderr[-300:])
    fill(topic, lines[1:])
    equal([len(line) for line in read(topic, 2)], [900_000, 5], "lengths of the lines")
    fill(larger, ["y" * 2_000_000], *size)
    equal(len(read(larger, 1)[0]), 2_000_000, "length of the line")


def many_partitions():
    topic = new_topic(100)
    properties = ["parse.key=true", "key.separator=|"]
    lines = [f"key {number}|{number}" for number in range(2000)]
    fill(topic, lines, *(word for p in properties for word in ("--reader-property", p)))
    equal(sorted(map(int, read(topic, 2000))), list(range(2000)), "lines")
    found = offsets(topic)
    equal(len(found), 100, "partitions with an offset")
    equal(sum(found.values()), 2000, "records")


def auto_create():
    topic = unique("tools-auto")
    fill(topic, ["made by writing"])
    equal(read(topic, 1), ["made by writing"], "lines")


def admin():
    topic = unique("tools-admin")
    made = ("--topic", topic, "--partitions", 3, "--replication-factor", 1)
    tool("kafka-topics", "--create", *made, "--config", "retention.ms=3600000")
    refuses("TopicExistsException", "kafka-topics", "--create", *made)
    equal(topic in tool("kafka-topics", "--list").split(), True, "listed")
    tool("kafka-topics", "--alter", "--topic", topic, "--partitions", 5)
    said = tool("kafka-topics", "--describe", "--topic", topic)
    equal("PartitionCount: 5" in said and "retention.ms=3600000" in said, True, said)
    fill(topic, range(100))
    places = [{"topic": topic, "partition": part, "offset": -1} for part in range(5)]
    file = TARGET / f"{topic}.json"
    file.write_text(json.dumps({"partitions": places, "version": 1}))
    end = offsets(topic)
    said = tool("kafka-delete-records", "--offset-json-file", file)
    file.unlink()
    equal(said.count("low_watermark"), 5, "partitions with a new start")
    equal(offsets(topic, "--time", "earliest"), end, "starts")
    tool("kafka-topics", "--delete", "--topic", topic)
    eventually("gone", lambda: topic not in tool("kafka-topics", "--list").split())
    tool("kafka-topics", "--create", *made)
    fill(topic, ["anew"])
    equal(read(topic, 1), ["anew"], "lines of the new topic")


def configs():
    topic = new_topic()
    of = ("--entity-type", "topics", "--entity-name", topic)
    change = "max.message.bytes=2000000,cleanup.policy=[compact,delete]"
    tool("kafka-configs", "--alter", *of, "--add-config", change)
    said = tool("kafka-configs", "--describe", *of)
    equal("max.message.bytes=2000000" in said, True, "the setting is shown")
    tool("kafka-configs", "--alter", *of, "--delete-config", "max.message.bytes")
    said = tool("kafka-configs", "--describe", *of, "--all")
    equal("max.message.bytes=1048588" in said, True, "the default is shown")
    equal("cleanup.policy=compact,delete" in said, True, "a list is shown")
    refuses("InvalidConfigurationException", "kafka-configs", "--alter", *of,
            "--add-config", "retention.ms=soon")
    said = tool("kafka-configs", "--describe", "--entity-type", "brokers", "--all")
    equal(said.count("sensitive=") > 10, True, "settings of the broker are shown")


def reset_offsets():
    """Every way to set a group's offsets that needs no file of a former run."""
    topic, group = new_topic(2), unique("offsets")
    words = ("--topic", topic, "--max-messages", 200, "--repeating-keys", 20)
    tool("kafka-verifiable-producer", *words)
    end = offsets(topic)
    equal(reset(group, topic, "--to-latest"), end, "latest")
    equal(reset(group, f"{topic}:1", "--to-offset", 5), {1: 5}, "one partition")
    equal(reset(group, f"{topic}:1", "--shift-by", -2), {1: 3}, "shifted")
    equal(reset(group, topic, "--by-duration", "PT1H"), {0: 0, 1: 0}, "an hour back")
    words = ("--reset-offsets", "--group", group, "--topic", topic, "--to-latest")
    plan = tool("kafka-consumer-groups", *words, "--dry-run", "--export")
    file = TARGET / f"{group}.csv"
    file.write_text("\n".join(line for line in plan.splitlines() if "," in line))
    equal(reset(group, topic, "--from-file", file), end, "from a file")
    file.unlink()
    equal(reset(group, topic, "--to-earliest"), {0: 0, 1: 0}, "earliest")


def groups():
    topic, group = new_topic(2), unique("groups")
    member = consumer(topic, group)
    eventually("an assignment", lambda: len(member.owned()) == 2, PATIENCE_S)
    fill(topic, range(10))
    eventually("ten records", lambda: member.count() == 10, PATIENCE_S)
    said = tool("kafka-consumer-groups", "--describe", "--group", group, "--members", "--verbose")
    found = rows(said, "GROUP", "#PARTITIONS")
    equal(found, [[group, "2"]], "members")
    refuses("GroupNotEmptyException", "kafka-consumer-groups", "--delete", "--group", group)
    member.end()
    said = tool("kafka-consumer-groups", "--describe", "--group", group, "--state")
    equal("Empty" in said, True, "the group is empty: " + said)
    equal(group in tool("kafka-consumer-groups", "--list").split(), True, "listed")
    tool("kafka-consumer-groups", "--delete-offsets", "--group", group, "--topic", topic)
    tool("kafka-consumer-groups", "--delete", "--group", group)
    equal(group in tool("kafka-groups", "--list").split(), False, "still listed")


def inspect():
    topic = new_topic()
    fill(topic, range(10))
    said = tool("kafka-broker-api-versions")
    found = re.search(r"Produce\(0\): 0 to (\d+)", said)
    equal(bool(found), True, "the versions of Produce are shown")
    metadata = re.search(r"Metadata\(3\):.*", said)[0]
    equal("UNSUPPORTED" in metadata, False, "Metadata is unsupported")
    equal("Cluster ID" in tool("kafka-cluster", "cluster-id"), True, "the cluster id is shown")
    said = tool("kafka-log-dirs", "--describe")
    equal(topic in said, True, "the topic has a directory")
    said = tool("kafka-get-offsets")
    equal(f"{topic}:0:10" in said.split(), True, "the offsets of all topics")
    said = tool("kafka-topics", "--describe")
    equal(topic in said, True, "all topics are described")
    said = tool("kafka-topics", "--describe", "--unavailable-partitions")
    equal(said.strip(), "", "partitions without a leader")


def fetch_long_poll():
    """A reader that waits up to 20 s in each fetch hears of a record at once."""
    topic = new_topic()
    words = ("--topic", topic, "--max-messages", "2", "--timeout-ms", "60000", "--from-beginning")
    words += ("--command-property", "fetch.max.wait.ms=20000")
    line = command("kafka-console-consumer", *words)
    waiting = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
    fill(topic, ["first"])
    equal(waiting.stdout.readline(), "first\n", "line")
    # The next fetch waits by the time that another producer has started.
    fill(topic, ["second"])
    start = time.monotonic()
    equal(waiting.stdout.readline(), "second\n", "line")
    equal(time.monotonic() - start < 10, True, "heard within half of the wait")
    waiting.wait(PATIENCE_S)


def restart():
    if "BROKER" not in os.environ:
        raise Skip("this run has no control over its broker")
    topic, group = new_topic(2), unique("restart")
    producer = Background("kafka-verifiable-producer", "--topic", topic, "--throughput", 500)
    reader = consumer(topic, group, "--verbose")
    acknowledged = lambda: producer.named("producer_send_success")
    for crash in range(4):
        enough = len(acknowledged()) + 300
        eventually("acknowledgements", lambda: len(acknowledged()) > enough, PATIENCE_S)
        if crash < 3:
            common.broker("kill")
            common.broker("start")
    producer.end()
    # This producer never tries again: what it was not told about may be there or not.
    place = lambda event: (event["partition"], event["offset"])
    sent = {place(event): event["value"] for event in acknowledged()}
    equal(len(sent), len(acknowledged()), "offsets acknowledged once")
    there = lambda: {place(event): event["value"] for event in reader.named("record_data")}
    everything = lambda: there().keys() >= sent.keys()
    eventually("all that was acknowledged is read", everything, PATIENCE_S)
    kept = {where: value for where, value in there().items() if where in sent}
    equal(kept == sent, True, "what was read is what was acknowledged")
    # Nothing is doubled, and each partition has the order in which its records were sent.
    shown = ("--formatter-property", "print.partition=true")
    count = sum(offsets(topic).values())
    lines = [line.split("\t") for line in read(topic, count, *shown)]
    for partition in ("Partition:0", "Partition:1"):
        values = [int(value) for where, value in lines if where == partition]
        equal(values, sorted(set(values)), f"order in {partition}")


ALIKE = [produce_consume, keys_headers, timestamps, acks, idempotent, group_three, group_crash]
ALIKE += [group_static, commit_metadata, seek_by_time, large_message, many_partitions, auto_create]
ALIKE += [admin, configs, reset_offsets, groups, inspect, fetch_long_poll, restart]
CASES = {case.__name__: case for case in ALIKE}
for each in ("none", "gzip", "snappy", "lz4", "zstd"):
    CASES[f"codec_{each}"] = lambda name=each: codec(name)


if __name__ == "__main__":
    if sys.argv[1] == "archive":
        archive()
    else:
        common.main(CASES)
