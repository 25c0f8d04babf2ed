"""confluent-kafka, which brings the current librdkafka."""

import functools
import threading
import time

from common import BOOTSTRAP, HOUR_AGO_MS, Journal, Member, Spread, crash_often, equal
from common import eventually, main, refused, unique
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException
from confluent_kafka import OFFSET_BEGINNING, Producer, TIMESTAMP_CREATE_TIME, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin import NewPartitions, NewTopic, OffsetSpec, ResourceType
from confluent_kafka import TopicCollection

SESSION = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}


# Kept, since its calls are broken off when nobody holds it.
@functools.cache
def admin():
    return AdminClient({"bootstrap.servers": BOOTSTRAP})


def done(futures):
    return {key: future.result(20) for key, future in futures.items()}


def topic(partitions=1, **config):
    name = unique("confluent")
    done(admin().create_topics([NewTopic(name, partitions, 1, config=config)]))
    return name


def producer(**options):
    return Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 5, **options})


def consumer(group=None, **options):
    return Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": group or unique("none"),
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **options,
        }
    )


class Deliveries:
    """Collects what the delivery callback tells."""

    def __init__(self):
        self.messages, self.errors = [], []

    def __call__(self, error, message):
        if error is None:
            self.messages.append(message)
        else:
            self.errors.append(error)


def send(name, records, options=None):
    """Sends records (dictionaries for `produce`) and returns the acknowledged messages."""
    deliveries = Deliveries()
    sender = producer(**(options or {}))
    for record in records:
        sender.produce(name, on_delivery=deliveries, **record)
    equal(sender.flush(20), 0, "records that are still unsent")
    equal([str(error) for error in deliveries.errors], [], "errors of deliveries")
    return deliveries.messages


def take(reader, count, seconds=20.0):
    messages = []
    end = time.monotonic() + seconds
    while len(messages) < count and time.monotonic() < end:
        message = reader.poll(0.2)
        if message is None:
            continue
        if message.error():
            raise AssertionError(f"consuming: {message.error()}")
        messages.append(message)
    equal(len(messages), count, "records that arrived")
    return messages


def read(name, count, partitions=1, offset=OFFSET_BEGINNING, **options):
    reader = consumer(**options)
    reader.assign([TopicPartition(name, partition, offset) for partition in range(partitions)])
    messages = take(reader, count)
    reader.close()
    return messages


def produce_consume():
    name = topic(3)
    records = [{"key": b"k%d" % n, "value": b"v%d" % n} for n in range(300)]
    sent = send(name, records)
    equal(len({(m.partition(), m.offset()) for m in sent}), 300, "different places of records")
    found = read(name, 300, partitions=3)
    equal(
        sorted((m.key(), m.value()) for m in found),
        sorted((r["key"], r["value"]) for r in records),
        "records",
    )
    for partition in range(3):
        offsets = [m.offset() for m in found if m.partition() == partition]
        equal(offsets, list(range(len(offsets))), f"offsets of partition {partition}")


def keys_headers():
    name = topic()
    headers = [("b", b"1"), ("a", bytes(range(256))), ("b", b"2"), ("none", None), ("", b"")]
    records = [
        {"key": None, "value": b"no key"},
        {"key": b"", "value": b"empty key"},
        {"key": b"k", "value": b""},
        {"key": b"tombstone", "value": None},
        {"key": bytes(range(256)), "value": bytes(range(255, -1, -1)), "headers": headers},
    ]
    send(name, records)
    found = read(name, len(records))
    equal([m.key() for m in found], [r["key"] for r in records], "keys")
    equal([m.value() for m in found], [r["value"] for r in records], "values")
    equal(found[4].headers(), headers, "headers")
    equal(found[0].headers() or [], [], "headers of a record without")


def codec(codec_name):
    def case():
        name = topic()
        values = [b"%d " % n * 200 for n in range(200)]
        send(
            name,
            [{"value": value} for value in values],
            {"compression.type": codec_name, "linger.ms": 50},
        )
        equal([m.value() for m in read(name, 200)], values, "values")
        # From the middle of a batch: the broker sends all of it, the client drops the start.
        equal([m.value() for m in read(name, 73, offset=127)], values[127:], "values from 127")

    return case


def timestamps():
    name = topic()
    times = [HOUR_AGO_MS + 1000 * n for n in range(10)]
    send(name, [{"value": b"x", "timestamp": time_ms} for time_ms in times])
    found = [m.timestamp() for m in read(name, 10)]
    equal(found, [(TIMESTAMP_CREATE_TIME, time_ms) for time_ms in times], "timestamps")
    reader = consumer()
    for time_ms, offset in [(0, 0), (times[4] - 1, 4), (times[4], 4), (times[4] + 1, 5)]:
        (answer,) = reader.offsets_for_times([TopicPartition(name, 0, time_ms)], timeout=10)
        equal(answer.offset, offset, f"offset for time {time_ms}")
    (answer,) = reader.offsets_for_times([TopicPartition(name, 0, times[9] + 1)], timeout=10)
    equal(answer.offset, -1, "offset for a time after the last record (the end)")
    place = TopicPartition(name, 0)
    newest = done(admin().list_offsets({place: OffsetSpec.max_timestamp()}))[place]
    equal((newest.offset, newest.timestamp), (9, times[9]), "record with the largest time")


def acks():
    for level in ["0", "1", "all"]:
        name = topic()
        sent = send(name, [{"value": b"%d" % n} for n in range(20)], {"acks": level})
        if level != "0":
            equal([m.offset() for m in sent], list(range(20)), f"offsets with acks {level}")
        equal([m.value() for m in read(name, 20)], [b"%d" % n for n in range(20)], "values")


def idempotent():
    name = topic(2)
    options = {"enable.idempotence": True, "max.in.flight.requests.per.connection": 5}
    options["linger.ms"] = 0
    records = [{"value": b"%d" % n, "partition": n % 2} for n in range(2000)]
    send(name, records, options)
    found = read(name, 2000, partitions=2)
    for partition in range(2):
        values = [int(m.value()) for m in found if m.partition() == partition]
        equal(values, list(range(partition, 2000, 2)), f"values of partition {partition}")


class Threaded:
    """A member of a group that polls in a thread and notes what it is given and what it reads."""

    def __init__(self, name, group, spread, member, seen, **options):
        self.spread, self.member, self.seen = spread, member, seen
        self.rebalances = 0
        self.reader = consumer(group, **SESSION, **options)
        self.reader.subscribe([name], on_assign=self.assigned, on_revoke=self.revoked)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.poll, daemon=True)
        self.thread.start()

    def assigned(self, _reader, partitions):
        self.rebalances += 1
        self.spread.set(self.member, [p.partition for p in partitions])

    def revoked(self, _reader, _partitions):
        self.rebalances += 1
        self.spread.set(self.member, [])

    def poll(self):
        while not self.stop.is_set():
            message = self.reader.poll(0.1)
            if message is not None and not message.error():
                self.seen.append((self.member, message.partition(), message.value()))
        self.reader.close()

    def close(self):
        self.stop.set()
        self.thread.join(20)


def group_three():
    name, group, spread, seen = topic(6), unique("group"), Spread(), []
    members = [Threaded(name, group, spread, n, seen) for n in range(3)]
    eventually("three members share six partitions", lambda: spread.whole([0, 1, 2], 6), 40)
    send(name, [{"value": b"%d" % n, "partition": n % 6} for n in range(60)])
    eventually("sixty records", lambda: len(seen) >= 60)
    equal(sorted(int(value) for _, _, value in seen), list(range(60)), "values")
    for member, partition, _ in seen:
        equal(partition in spread.owned[member], True, "records come to the owner")
    members[2].close()
    eventually("two members share six partitions", lambda: spread.whole([0, 1], 6), 40)


def member(name, group):
    reader = consumer(group, **SESSION)

    def assigned(_reader, partitions):
        print("assigned", len(partitions), flush=True)

    reader.subscribe([name], on_assign=assigned)
    while True:
        reader.poll(0.1)


def group_crash():
    name, group, spread, seen = topic(4), unique("group"), Spread(), []
    victim = Member(name, group)
    victim.line("assigned 4")
    Threaded(name, group, spread, 0, seen)
    eventually("the second member has a share", lambda: spread.owned.get(0))
    victim.vanish()
    eventually("the survivor has everything", lambda: spread.whole([0], 4), 40)
    send(name, [{"value": b"%d" % n, "partition": n % 4} for n in range(40)])
    eventually("forty records", lambda: len(seen) >= 40)
    equal(sorted(int(value) for _, _, value in seen), list(range(40)), "values")


def group_static():
    name, group, spread, seen = topic(4), unique("group"), Spread(), []
    start = lambda n: Threaded(name, group, spread, n, seen, **{"group.instance.id": f"i{n}"})
    first, second = start(0), start(1)
    eventually("two members share four partitions", lambda: spread.whole([0, 1], 4), 40)
    share, before = spread.owned[0], second.rebalances
    first.close()
    time.sleep(1)
    spread.set(0, [])
    start(0)
    eventually("the member is back", lambda: spread.owned[0])
    equal(spread.owned[0], share, "partitions of the member that came back")
    time.sleep(2)
    equal(second.rebalances, before, "rebalances of the other member")


def commit_metadata():
    name, group = topic(2), unique("group")
    send(name, [{"value": b"%d" % n, "partition": 0} for n in range(10)])
    text = "métadonnées " * 20
    reader = consumer(group)
    reader.commit(
        offsets=[
            TopicPartition(name, 0, 4, metadata=text),
            TopicPartition(name, 1, 0),
        ],
        asynchronous=False,
    )
    places = [TopicPartition(name, 0), TopicPartition(name, 1)]
    found = reader.committed(places, timeout=10)
    equal([(p.offset, p.metadata or "") for p in found], [(4, text), (0, "")], "committed")
    reader.close()
    reader = consumer(group)
    reader.subscribe([name])
    equal([int(m.value()) for m in take(reader, 6)], [4, 5, 6, 7, 8, 9], "values from the commit")
    (answer,) = consumer(unique("group")).committed([TopicPartition(name, 0)], timeout=10)
    equal(answer.offset, -1001, "committed offset of a group that never committed")


def seek_by_time():
    name = topic(2)
    base = HOUR_AGO_MS
    send(
        name,
        [
            {"value": b"%d" % n, "partition": n % 2, "timestamp": base + 100 * n}
            for n in range(100)
        ],
    )
    reader = consumer()
    wanted = [TopicPartition(name, partition, base + 6000) for partition in range(2)]
    reader.assign(reader.offsets_for_times(wanted, timeout=10))
    values = sorted(int(m.value()) for m in take(reader, 40))
    equal(values, list(range(60, 100)), "values from the time on")
    reader.close()


def too_large(name, size):
    deliveries = Deliveries()
    sender = producer(**{"message.max.bytes": 20_000_000, "retries": 0})
    sender.produce(name, value=b"x" * size, on_delivery=deliveries)
    sender.flush(20)
    equal(
        [error.code() for error in deliveries.errors],
        [KafkaError.MSG_SIZE_TOO_LARGE],
        f"errors of {size} bytes",
    )


def large_message():
    name = topic()
    value = bytes(n * 7 % 251 for n in range(900_000))
    send(name, [{"value": value}])
    equal(read(name, 1)[0].value() == value, True, "900 kB come back")
    too_large(name, 2_000_000)
    wide = topic(**{"max.message.bytes": "5000000"})
    send(wide, [{"value": value * 4}], {"message.max.bytes": 20_000_000})
    equal(read(wide, 1)[0].value() == value * 4, True, "3.6 MB come back")
    too_large(wide, 6_000_000)


def many_partitions():
    name = topic(100)
    described = admin().list_topics(name, timeout=10).topics[name]
    equal(sorted(described.partitions), list(range(100)), "partitions")
    send(name, [{"value": b"%d" % n, "partition": n % 100} for n in range(1000)])
    found = read(name, 1000, partitions=100)
    equal(sorted(int(m.value()) for m in found), list(range(1000)), "values")
    equal(all(int(m.value()) % 100 == m.partition() for m in found), True, "partitions kept")


def auto_create():
    name = unique("confluent-auto")
    send(name, [{"value": b"x"}])
    equal(read(name, 1)[0].value(), b"x", "value")
    name = unique("confluent-absent")
    reader = consumer(**{"allow.auto.create.topics": False})
    reader.subscribe([name])
    message = eventually("an answer about a missing topic", lambda: reader.poll(0.2))
    equal(message.error().code(), KafkaError.UNKNOWN_TOPIC_OR_PART, "error of a missing topic")
    equal(name in admin().list_topics(timeout=10).topics, False, "topic was created by a look")


def described(name):
    """The description of a topic, which a broker may know a moment after its creation."""
    ask = lambda: done(admin().describe_topics(TopicCollection([name])))[name]
    return eventually(f"{name} is described", ask, despite=KafkaException)


def configs_of(name):
    resource = ConfigResource(ResourceType.TOPIC, name)
    return done(admin().describe_configs([resource]))[resource]


def admin_configs(name):
    found = configs_of(name)
    equal(found["retention.ms"].value, "3600000", "retention.ms as created")
    equal(found["cleanup.policy"].value, "delete", "cleanup.policy by default")
    equal(found["cleanup.policy"].is_default, True, "cleanup.policy is a default")
    change = ConfigResource(
        ResourceType.TOPIC,
        name,
        incremental_configs=[
            ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE),
            ConfigEntry(
                "cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND
            ),
        ],
    )
    done(admin().incremental_alter_configs([change]))

    def changed():
        found = configs_of(name)
        policies = set(found["cleanup.policy"].value.split(","))
        return found["retention.ms"].value != "3600000" and policies == {"compact", "delete"}

    eventually("the changed configuration", changed)


def admin_groups(name):
    group = unique("group")
    reader = consumer(group)
    reader.subscribe([name])
    take(reader, 1)
    reader.commit(asynchronous=False)
    control = admin()
    listed = control.list_consumer_groups().result(20).valid
    equal(group in [g.group_id for g in listed], True, "the group is listed")
    described = done(control.describe_consumer_groups([group]))[group]
    equal((described.state.name, len(described.members)), ("STABLE", 1), "the group")
    error = refused(
        "deleting a group with a member",
        KafkaException,
        lambda: done(control.delete_consumer_groups([group])),
    )
    equal(error.args[0].code(), KafkaError.NON_EMPTY_GROUP, "error")
    reader.close()
    asked = [ConsumerGroupTopicPartitions(group)]
    found = done(control.list_consumer_group_offsets(asked))[group]
    equal([p.topic for p in found.topic_partitions][:1], [name], "topics with an offset")
    eventually("the group is empty", lambda: emptied(control, group))
    done(control.delete_consumer_groups([group]))
    listed = control.list_consumer_groups().result(20).valid
    equal(group in [g.group_id for g in listed], False, "the deleted group is listed")


def emptied(control, group):
    return done(control.describe_consumer_groups([group]))[group].state.name == "EMPTY"


def administration():
    name, control = unique("confluent-admin"), admin()
    new = NewTopic(name, 2, 1, config={"retention.ms": "3600000"})
    done(control.create_topics([new], validate_only=True))
    done(control.create_topics([new]))
    error = refused(
        "creating it twice", KafkaException, lambda: done(control.create_topics([new]))
    )
    equal(error.args[0].code(), KafkaError.TOPIC_ALREADY_EXISTS, "error")
    equal(name in control.list_topics(timeout=10).topics, True, "the topic is listed")
    first_id = str(described(name).topic_id)
    equal(len(described(name).partitions), 2, "partitions described")
    cluster = control.describe_cluster().result(20)
    equal(len(cluster.nodes) >= 1 and bool(cluster.cluster_id), True, "the cluster has nodes")
    admin_configs(name)
    done(control.create_partitions([NewPartitions(name, 5)]))
    eventually(
        "five partitions",
        lambda: len(control.list_topics(name, timeout=10).topics[name].partitions) == 5,
    )
    send(name, [{"key": b"k", "value": b"%d" % n, "partition": 4} for n in range(10)])
    answer = done(control.delete_records([TopicPartition(name, 4, 6)]))
    equal([deleted.low_watermark for deleted in answer.values()], [6], "start after deletion")
    equal(consumer().get_watermark_offsets(TopicPartition(name, 4), 10), (6, 10), "watermarks")
    admin_groups(name)
    done(control.delete_topics([name]))
    eventually("the topic is gone", lambda: name not in control.list_topics(timeout=10).topics)
    done(control.create_topics([NewTopic(name, 1, 1)]))
    equal(str(described(name).topic_id) != first_id, True, "the new topic has a new id")
    send(name, [{"value": b"new"}])
    equal([(m.offset(), m.value()) for m in read(name, 1)], [(0, b"new")], "records")


def fetch_long_poll():
    name = topic()
    send(name, [{"value": b"first"}])
    reader = consumer(**{"fetch.wait.max.ms": 15000, "socket.timeout.ms": 30000})
    reader.assign([TopicPartition(name, 0, OFFSET_BEGINNING)])
    take(reader, 1)
    # By now the next fetch waits at the broker.
    equal(reader.poll(1.5), None, "record before one was sent")
    start = time.monotonic()
    send(name, [{"value": b"second"}])
    take(reader, 1, 12)
    waited = time.monotonic() - start
    equal(waited < 3, True, f"the record came in good time ({waited:.1f} s of a wait of 15 s)")


def restart():
    name, partitions = topic(3), 3
    journal, stop = Journal(partitions), threading.Event()
    soon = {"reconnect.backoff.max.ms": 500}
    sender = producer(**{"enable.idempotence": True, "acks": "all", "linger.ms": 2, **soon})
    live = {partition: [] for partition in range(partitions)}

    def delivered(error, message):
        if error is not None:
            journal.fail(error)
        else:
            journal.ack(message.partition(), int(message.value()))

    def produce():
        number = 0
        while not stop.is_set():
            sender.produce(
                name, b"%d" % number, partition=number % partitions, on_delivery=delivered
            )
            number += 1
            sender.poll(0.001)
        equal(sender.flush(60), 0, "records that are still unsent")

    reader = consumer(**soon)
    reader.assign([TopicPartition(name, p, OFFSET_BEGINNING) for p in range(partitions)])

    def consume(until):
        while not until():
            message = reader.poll(0.2)
            if message is not None and not message.error():
                live[message.partition()].append(int(message.value()))

    finished = threading.Event()
    consuming = threading.Thread(target=consume, args=[finished.is_set], daemon=True)
    producing = threading.Thread(target=produce, daemon=True)
    consuming.start()
    producing.start()
    crash_often(journal)
    stop.set()
    producing.join(70)
    eventually("all is read", lambda: sum(map(len, live.values())) >= journal.total())
    finished.set()
    consuming.join(10)
    equal(journal.failures, [], "failed deliveries")
    journal.check(live, "while it happened")
    again = {partition: [] for partition in range(partitions)}
    for message in read(name, journal.total(), partitions):
        again[message.partition()].append(int(message.value()))
    journal.check(again, "afterwards")


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

main(CASES, member)
