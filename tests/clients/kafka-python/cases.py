"""kafka-python, a client in pure Python."""

import threading
import time

from common import BOOTSTRAP, HOUR_AGO_MS, Journal, Member, Spread, crash_often, equal
from common import eventually, main, refused, unique
from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, MessageSizeTooLargeError, TopicAlreadyExistsError

SESSION = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 500}


def admin():
    return KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


def topic(partitions=1, **config):
    name = unique("kafka-python")
    new = {"num_partitions": partitions, "replication_factor": 1, "configs": config}
    control = admin()
    control.create_topics({name: new}, wait_for_metadata=True)
    control.close()
    return name


def producer(**options):
    return KafkaProducer(bootstrap_servers=BOOTSTRAP, **{"linger_ms": 5, **options})


def consumer(group=None, **options):
    base = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
    return KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=group, **{**base, **options})


def send(name, records, **options):
    """Sends records (dictionaries for `send`) and returns what is told of each."""
    sender = producer(**options)
    futures = [sender.send(name, **record) for record in records]
    sender.flush(20)
    told = [future.get(20) for future in futures]
    sender.close()
    return told


def take(reader, count, seconds=20.0):
    messages = []
    end = time.monotonic() + seconds
    while len(messages) < count and time.monotonic() < end:
        for batch in reader.poll(timeout_ms=200).values():
            messages += batch
    equal(len(messages), count, "records that arrived")
    return messages


def read(name, count, partitions=1, offset=None, **options):
    reader = consumer(**options)
    places = [TopicPartition(name, partition) for partition in range(partitions)]
    reader.assign(places)
    if offset is None:
        reader.seek_to_beginning(*places)
    else:
        reader.seek(places[0], offset)
    messages = take(reader, count)
    reader.close()
    return messages


def produce_consume():
    name = topic(3)
    records = [{"key": b"k%d" % n, "value": b"v%d" % n} for n in range(300)]
    sent = send(name, records)
    equal(len({(m.partition, m.offset) for m in sent}), 300, "different places of records")
    found = read(name, 300, partitions=3)
    equal(
        sorted((m.key, m.value) for m in found),
        sorted((r["key"], r["value"]) for r in records),
        "records",
    )
    for partition in range(3):
        offsets = [m.offset for m in found if m.partition == partition]
        equal(offsets, list(range(len(offsets))), f"offsets of partition {partition}")


def keys_headers():
    name = topic()
    headers = [("b", b"1"), ("a", bytes(range(256))), ("b", b"2"), ("", b"")]
    records = [
        {"key": None, "value": b"no key"},
        {"key": b"", "value": b"empty key"},
        {"key": b"k", "value": b""},
        {"key": b"tombstone", "value": None},
        {"key": bytes(range(256)), "value": bytes(range(255, -1, -1)), "headers": headers},
    ]
    send(name, records)
    found = read(name, len(records))
    equal([m.key for m in found], [r["key"] for r in records], "keys")
    equal([m.value for m in found], [r["value"] for r in records], "values")
    equal(list(found[4].headers), headers, "headers")
    equal(list(found[0].headers), [], "headers of a record without")


def codec(codec_name):
    def case():
        name = topic()
        values = [b"%d " % n * 200 for n in range(200)]
        told = None if codec_name == "none" else codec_name
        send(name, [{"value": value} for value in values], compression_type=told, linger_ms=50)
        equal([m.value for m in read(name, 200)], values, "values")
        # From the middle of a batch: the broker sends all of it, the client drops the start.
        equal([m.value for m in read(name, 73, offset=127)], values[127:], "values from 127")

    return case


def timestamps():
    name = topic()
    place = TopicPartition(name, 0)
    times = [HOUR_AGO_MS + 1000 * n for n in range(10)]
    send(name, [{"value": b"x", "timestamp_ms": time_ms} for time_ms in times])
    found = [(m.timestamp_type, m.timestamp) for m in read(name, 10)]
    equal(found, [(0, time_ms) for time_ms in times], "timestamps, as given by the sender")
    reader = consumer()
    for time_ms, offset in [(0, 0), (times[4] - 1, 4), (times[4], 4), (times[4] + 1, 5)]:
        answer = reader.offsets_for_times({place: time_ms})[place]
        equal(answer.offset, offset, f"offset for time {time_ms}")
        equal(answer.timestamp, times[offset], f"time of the record for {time_ms}")
    answer = reader.offsets_for_times({place: times[9] + 1})[place]
    equal(answer, None, "place for a time after the last record")


def acks():
    for level in [0, 1, "all"]:
        name = topic()
        options = {"acks": level, "enable_idempotence": False}
        sent = send(name, [{"value": b"%d" % n} for n in range(20)], **options)
        if level != 0:
            equal([m.offset for m in sent], list(range(20)), f"offsets with acks {level}")
        equal([m.value for m in read(name, 20)], [b"%d" % n for n in range(20)], "values")


def idempotent():
    name = topic(2)
    options = {"enable_idempotence": True, "max_in_flight_requests_per_connection": 5}
    records = [{"value": b"%d" % n, "partition": n % 2} for n in range(2000)]
    send(name, records, linger_ms=0, **options)
    found = read(name, 2000, partitions=2)
    for partition in range(2):
        values = [int(m.value) for m in found if m.partition == partition]
        equal(values, list(range(partition, 2000, 2)), f"values of partition {partition}")


class Threaded(ConsumerRebalanceListener):
    """A member of a group that polls in a thread and notes what it is given and what it reads."""

    def __init__(self, name, group, spread, member, seen, **options):
        self.spread, self.member, self.seen = spread, member, seen
        self.rebalances = 0
        self.reader = consumer(group, **SESSION, **options)
        self.reader.subscribe([name], listener=self)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.poll, daemon=True)
        self.thread.start()

    def on_partitions_assigned(self, assigned):
        self.rebalances += 1
        self.spread.set(self.member, [p.partition for p in assigned])

    def on_partitions_revoked(self, revoked):
        self.rebalances += 1
        self.spread.set(self.member, [])

    def poll(self):
        while not self.stop.is_set():
            for batch in self.reader.poll(timeout_ms=100).values():
                for message in batch:
                    self.seen.append((self.member, message.partition, message.value))
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
    class Listener(ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned):
            print("assigned", len(assigned), flush=True)

        def on_partitions_revoked(self, revoked):
            pass

    reader = consumer(group, **SESSION)
    reader.subscribe([name], listener=Listener())
    while True:
        reader.poll(timeout_ms=100)


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
    start = lambda n: Threaded(name, group, spread, n, seen, group_instance_id=f"i{n}")
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
    places = [TopicPartition(name, 0), TopicPartition(name, 1)]
    reader = consumer(group)
    reader.commit(
        {places[0]: OffsetAndMetadata(4, text, -1), places[1]: OffsetAndMetadata(0, "", -1)}
    )
    found = [reader.committed(place, metadata=True) for place in places]
    equal([(p.offset, p.metadata) for p in found], [(4, text), (0, "")], "committed")
    reader.close()
    reader = consumer(group)
    reader.subscribe([name])
    equal([int(m.value) for m in take(reader, 6)], [4, 5, 6, 7, 8, 9], "values from the commit")
    other = consumer(unique("group"))
    equal(other.committed(places[0]), None, "committed offset of a group that never committed")


def seek_by_time():
    name, base = topic(2), HOUR_AGO_MS
    send(
        name,
        [
            {"value": b"%d" % n, "partition": n % 2, "timestamp_ms": base + 100 * n}
            for n in range(100)
        ],
    )
    reader = consumer()
    places = [TopicPartition(name, partition) for partition in range(2)]
    reader.assign(places)
    found = reader.offsets_for_times({place: base + 6000 for place in places})
    for place, answer in found.items():
        reader.seek(place, answer.offset)
    values = sorted(int(m.value) for m in take(reader, 40))
    equal(values, list(range(60, 100)), "values from the time on")


def too_large(name, size):
    sender = producer(max_request_size=20_000_000, retries=0, enable_idempotence=False)
    refused(
        f"a record of {size} bytes",
        MessageSizeTooLargeError,
        lambda: sender.send(name, b"x" * size).get(20),
    )


def large_message():
    name = topic()
    value = bytes(n * 7 % 251 for n in range(900_000))
    send(name, [{"value": value}])
    equal(read(name, 1)[0].value == value, True, "900 kB come back")
    too_large(name, 2_000_000)
    wide = topic(**{"max.message.bytes": "5000000"})
    send(wide, [{"value": value * 4}], max_request_size=20_000_000)
    equal(read(wide, 1)[0].value == value * 4, True, "3.6 MB come back")
    too_large(wide, 6_000_000)


def many_partitions():
    name = topic(100)
    equal(consumer().partitions_for_topic(name), set(range(100)), "partitions")
    send(name, [{"value": b"%d" % n, "partition": n % 100} for n in range(1000)])
    found = read(name, 1000, partitions=100)
    equal(sorted(int(m.value) for m in found), list(range(1000)), "values")
    equal(all(int(m.value) % 100 == m.partition for m in found), True, "partitions kept")


def auto_create():
    name = unique("kafka-python-auto")
    send(name, [{"value": b"x"}])
    equal(read(name, 1)[0].value, b"x", "value")


def configs_of(control, name):
    asked = [ConfigResource(ConfigResourceType.TOPIC, name)]
    return control.describe_configs(asked, config_filter="all")["topic"][name]


def admin_configs(control, name):
    found = configs_of(control, name)
    equal(found["retention.ms"]["value"], "3600000", "retention.ms as created")
    equal(found["cleanup.policy"]["value"], "delete", "cleanup.policy by default")
    changes = {"retention.ms": ("DELETE", None), "cleanup.policy": ("APPEND", "compact")}
    answer = control.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, changes)])
    equal(answer, {"topic": {name: "OK"}}, "answer to the change")

    def changed():
        found = configs_of(control, name)
        policies = set(found["cleanup.policy"]["value"].split(","))
        return found["retention.ms"]["value"] != "3600000" and policies == {"compact", "delete"}

    eventually("the changed configuration", changed)


def admin_groups(control, name):
    group = unique("group")
    reader = consumer(group)
    reader.subscribe([name])
    take(reader, 4)
    reader.commit()
    listed = control.list_groups()
    equal(group in [g["group_id"] for g in listed], True, "the group is listed")
    described = control.describe_groups([group])[group]
    equal((described["group_state"], len(described["members"])), ("Stable", 1), "the group")
    answer = control.delete_groups([group])
    equal(answer, {group: "NonEmptyGroupError"}, "deleting a group with a member")
    reader.close()
    offsets = control.list_group_offsets(group)[group]
    equal({place.topic for place in offsets}, {name}, "topics with an offset")
    eventually(
        "the group is empty",
        lambda: control.describe_groups([group])[group]["group_state"] == "Empty",
    )
    equal(control.delete_groups([group]), {group: "OK"}, "deleting the group")
    listed = control.list_groups()
    equal(group in [g["group_id"] for g in listed], False, "the deleted group is listed")


def ready(control, name):
    """The description of a topic once its partitions have leaders."""
    control.wait_for_topics([name])
    return control.describe_topics([name])[0]


def administration():
    name, control = unique("kafka-python-admin"), admin()
    options = {"num_partitions": 2, "configs": {"retention.ms": "3600000"}}
    control.create_topics({name: options}, validate_only=True)
    control.create_topics({name: options})
    refused(
        "creating it twice", TopicAlreadyExistsError, lambda: control.create_topics({name: options})
    )
    first = ready(control, name)
    equal(name in control.list_topics(), True, "the topic is listed")
    equal(len(first["partitions"]), 2, "partitions described")
    equal(len(control.describe_cluster()["brokers"]) >= 1, True, "the cluster has nodes")
    admin_configs(control, name)
    control.create_partitions({name: 5})
    eventually("five partitions", lambda: len(ready(control, name)["partitions"]) == 5)
    send(name, [{"key": b"k", "value": b"%d" % n, "partition": 4} for n in range(10)])
    place = TopicPartition(name, 4)
    answer = control.delete_records({place: 6})
    equal(answer[place]["low_watermark"], 6, "start after deletion")
    equal(consumer().beginning_offsets([place]), {place: 6}, "beginning")
    equal(consumer().end_offsets([place]), {place: 10}, "end")
    admin_groups(control, name)
    control.delete_topics([name])
    eventually("the topic is gone", lambda: name not in control.list_topics())
    control.create_topics([name])
    equal(ready(control, name)["topic_id"] != first["topic_id"], True, "the topic has a new id")
    send(name, [{"value": b"new"}])
    equal([(m.offset, m.value) for m in read(name, 1)], [(0, b"new")], "records")


def fetch_long_poll():
    name = topic()
    send(name, [{"value": b"first"}])
    reader = consumer(fetch_max_wait_ms=15000, request_timeout_ms=40000)
    reader.assign([TopicPartition(name, 0)])
    take(reader, 1)
    # By now the next fetch waits at the broker.
    equal(reader.poll(timeout_ms=1500), {}, "records before one was sent")
    start = time.monotonic()
    send(name, [{"value": b"second"}])
    take(reader, 1, 12)
    waited = time.monotonic() - start
    equal(waited < 3, True, f"the record came in good time ({waited:.1f} s of a wait of 15 s)")


def restart():
    name, partitions = topic(3), 3
    journal, stop = Journal(partitions), threading.Event()
    sender = producer(enable_idempotence=True, acks="all", reconnect_backoff_max_ms=500)
    live = {partition: [] for partition in range(partitions)}

    def acknowledged(told, number):
        journal.ack(told.partition, number)

    def produce():
        number = 0
        while not stop.is_set():
            future = sender.send(name, b"%d" % number, partition=number % partitions)
            future.add_callback(acknowledged, number=number)
            future.add_errback(journal.fail)
            number += 1
            time.sleep(0.001)
        sender.flush(60)

    reader = consumer(reconnect_backoff_max_ms=500)
    reader.assign([TopicPartition(name, partition) for partition in range(partitions)])
    finished = threading.Event()

    def consume():
        while not finished.is_set():
            for batch in reader.poll(timeout_ms=200).values():
                for message in batch:
                    live[message.partition].append(int(message.value))

    threads = [threading.Thread(target=work, daemon=True) for work in [produce, consume]]
    for thread in threads:
        thread.start()
    crash_often(journal)
    stop.set()
    threads[0].join(70)
    eventually("all is read", lambda: sum(map(len, live.values())) >= journal.total())
    finished.set()
    threads[1].join(10)
    equal(journal.failures, [], "failed deliveries")
    journal.check(live, "while it happened")
    again = {partition: [] for partition in range(partitions)}
    for message in read(name, journal.total(), partitions):
        again[message.partition].append(int(message.value))
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
