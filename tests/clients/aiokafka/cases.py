"""aiokafka, a client for asyncio that speaks older versions of most requests."""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, for_code
from common import BOOTSTRAP, HOUR_AGO_MS, Journal, Member, Spread, crash_often, equal
from common import main, unique

SESSION = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 500}
TOPIC_ALREADY_EXISTS = 36


async def eventually(what, probe, seconds=20.0):
    """The first true answer of `probe`, a function or a coroutine function."""
    end = time.monotonic() + seconds
    while True:
        answer = probe()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        equal(time.monotonic() < end, True, f"{what} within {seconds:g} s")
        await asyncio.sleep(0.05)


def checked(response):
    """A response about topics, whose errors the client leaves to the caller."""
    for _, code, *_ in response.topic_errors:
        if code:
            raise for_code(code)()


async def topic(partitions=1, **config):
    name = unique("aiokafka")
    control = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await control.start()
    checked(await control.create_topics([NewTopic(name, partitions, 1, topic_configs=config)]))
    await control.close()
    return name


async def producer(**options):
    sender = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **{"linger_ms": 5, **options})
    await sender.start()
    return sender


async def consumer(*topics, **options):
    base = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
    reader = AIOKafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, **{**base, **options})
    await reader.start()
    return reader


async def send(name, records, **options):
    """Sends records (dictionaries for `send`) and returns what is told of each."""
    sender = await producer(**options)
    futures = [await sender.send(name, **record) for record in records]
    await sender.flush()
    told = [await future for future in futures]
    await sender.stop()
    return told


async def take(reader, count, seconds=20.0):
    messages = []
    end = time.monotonic() + seconds
    while len(messages) < count and time.monotonic() < end:
        for batch in (await reader.getmany(timeout_ms=200)).values():
            messages += batch
    equal(len(messages), count, "records that arrived")
    return messages


async def read(name, count, partitions=1, offset=None):
    reader = await consumer()
    places = [TopicPartition(name, partition) for partition in range(partitions)]
    reader.assign(places)
    if offset is None:
        await reader.seek_to_beginning(*places)
    else:
        reader.seek(places[0], offset)
    messages = await take(reader, count)
    await reader.stop()
    return messages


async def produce_consume():
    name = await topic(3)
    records = [{"key": b"k%d" % n, "value": b"v%d" % n} for n in range(300)]
    sent = await send(name, records)
    equal(len({(m.partition, m.offset) for m in sent}), 300, "different places of records")
    found = await read(name, 300, partitions=3)
    equal(
        sorted((m.key, m.value) for m in found),
        sorted((r["key"], r["value"]) for r in records),
        "records",
    )
    for partition in range(3):
        offsets = [m.offset for m in found if m.partition == partition]
        equal(offsets, list(range(len(offsets))), f"offsets of partition {partition}")


async def keys_headers():
    name = await topic()
    headers = [("b", b"1"), ("a", bytes(range(256))), ("b", b"2"), ("none", None), ("", b"")]
    records = [
        {"key": None, "value": b"no key"},
        {"key": b"", "value": b"empty key"},
        {"key": b"k", "value": b""},
        {"key": b"tombstone", "value": None},
        {"key": bytes(range(256)), "value": bytes(range(255, -1, -1)), "headers": headers},
    ]
    await send(name, records)
    found = await read(name, len(records))
    equal([m.key for m in found], [r["key"] for r in records], "keys")
    equal([m.value for m in found], [r["value"] for r in records], "values")
    equal(list(found[4].headers), headers, "headers")
    equal(list(found[0].headers), [], "headers of a record without")


def codec(codec_name):
    async def case():
        name = await topic()
        values = [b"%d " % n * 200 for n in range(200)]
        told = None if codec_name == "none" else codec_name
        await send(name, [{"value": v} for v in values], compression_type=told, linger_ms=50)
        equal([m.value for m in await read(name, 200)], values, "values")
        # From the middle of a batch: the broker sends all of it, the client drops the start.
        found = await read(name, 73, offset=127)
        equal([m.value for m in found], values[127:], "values from 127")

    return case


async def timestamps():
    name = await topic()
    place = TopicPartition(name, 0)
    times = [HOUR_AGO_MS + 1000 * n for n in range(10)]
    await send(name, [{"value": b"x", "timestamp_ms": time_ms} for time_ms in times])
    found = [(m.timestamp_type, m.timestamp) for m in await read(name, 10)]
    equal(found, [(0, time_ms) for time_ms in times], "timestamps, as given by the sender")
    reader = await consumer()
    for time_ms, offset in [(0, 0), (times[4] - 1, 4), (times[4], 4), (times[4] + 1, 5)]:
        answer = (await reader.offsets_for_times({place: time_ms}))[place]
        equal(answer.offset, offset, f"offset for time {time_ms}")
        equal(answer.timestamp, times[offset], f"time of the record for {time_ms}")
    answer = (await reader.offsets_for_times({place: times[9] + 1}))[place]
    equal(answer, None, "place for a time after the last record")
    await reader.stop()


async def acks():
    for level in [0, 1, "all"]:
        name = await topic()
        sent = await send(name, [{"value": b"%d" % n} for n in range(20)], acks=level)
        if level != 0:
            equal([m.offset for m in sent], list(range(20)), f"offsets with acks {level}")
        equal([m.value for m in await read(name, 20)], [b"%d" % n for n in range(20)], "values")


async def idempotent():
    name = await topic(2)
    records = [{"value": b"%d" % n, "partition": n % 2} for n in range(2000)]
    await send(name, records, enable_idempotence=True, linger_ms=0)
    found = await read(name, 2000, partitions=2)
    for partition in range(2):
        values = [int(m.value) for m in found if m.partition == partition]
        equal(values, list(range(partition, 2000, 2)), f"values of partition {partition}")


class Joined(ConsumerRebalanceListener):
    """A member of a group that polls in a task and notes what it is given and what it reads."""

    def __init__(self, spread, member, seen):
        self.spread, self.member, self.seen = spread, member, seen
        self.rebalances = 0

    @classmethod
    async def start(cls, name, group, spread, member, seen, **options):
        self = cls(spread, member, seen)
        self.reader = AIOKafkaConsumer(
            bootstrap_servers=BOOTSTRAP,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **SESSION,
            **options,
        )
        self.reader.subscribe([name], listener=self)
        await self.reader.start()
        self.task = asyncio.create_task(self.poll())
        return self

    async def on_partitions_assigned(self, assigned):
        self.rebalances += 1
        self.spread.set(self.member, [p.partition for p in assigned])

    async def on_partitions_revoked(self, revoked):
        self.rebalances += 1
        self.spread.set(self.member, [])

    async def poll(self):
        async for message in self.reader:
            self.seen.append((self.member, message.partition, message.value))

    async def close(self):
        self.task.cancel()
        await self.reader.stop()


async def group_three():
    name, group, spread, seen = await topic(6), unique("group"), Spread(), []
    members = [await Joined.start(name, group, spread, n, seen) for n in range(3)]
    await eventually("three members share six partitions", lambda: spread.whole([0, 1, 2], 6), 40)
    await send(name, [{"value": b"%d" % n, "partition": n % 6} for n in range(60)])
    await eventually("sixty records", lambda: len(seen) >= 60)
    equal(sorted(int(value) for _, _, value in seen), list(range(60)), "values")
    for member, partition, _ in seen:
        equal(partition in spread.owned[member], True, "records come to the owner")
    await members[2].close()
    await eventually("two members share six partitions", lambda: spread.whole([0, 1], 6), 40)


class Telling(ConsumerRebalanceListener):
    def on_partitions_assigned(self, assigned):
        print("assigned", len(assigned), flush=True)

    def on_partitions_revoked(self, revoked):
        pass


async def member_forever(name, group):
    reader = await consumer(group_id=group, **SESSION)
    reader.subscribe([name], listener=Telling())
    while True:
        await reader.getmany(timeout_ms=100)


def member(name, group):
    asyncio.run(member_forever(name, group))


async def group_crash():
    name, group, spread, seen = await topic(4), unique("group"), Spread(), []
    victim = Member(name, group)
    victim.line("assigned 4")
    await Joined.start(name, group, spread, 0, seen)
    await eventually("the second member has a share", lambda: spread.owned.get(0))
    victim.vanish()
    await eventually("the survivor has everything", lambda: spread.whole([0], 4), 40)
    await send(name, [{"value": b"%d" % n, "partition": n % 4} for n in range(40)])
    await eventually("forty records", lambda: len(seen) >= 40)
    equal(sorted(int(value) for _, _, value in seen), list(range(40)), "values")


async def group_static():
    name, group, spread, seen = await topic(4), unique("group"), Spread(), []
    start = lambda n: Joined.start(name, group, spread, n, seen, group_instance_id=f"i{n}")
    first, second = await start(0), await start(1)
    await eventually("two members share four partitions", lambda: spread.whole([0, 1], 4), 40)
    share, before = spread.owned[0], second.rebalances
    await first.close()
    await asyncio.sleep(1)
    spread.set(0, [])
    await start(0)
    await eventually("the member is back", lambda: spread.owned[0])
    equal(spread.owned[0], share, "partitions of the member that came back")
    await asyncio.sleep(2)
    equal(second.rebalances, before, "rebalances of the other member")


async def commit_metadata():
    name, group = await topic(2), unique("group")
    await send(name, [{"value": b"%d" % n, "partition": 0} for n in range(10)])
    text = "métadonnées " * 20
    places = [TopicPartition(name, 0), TopicPartition(name, 1)]
    reader = await consumer(group_id=group)
    reader.assign(places)
    await reader.commit({places[0]: (4, text), places[1]: (0, "")})
    equal([await reader.committed(place) for place in places], [4, 0], "committed offsets")
    await reader.stop()
    control = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await control.start()
    found = await control.list_consumer_group_offsets(group)
    equal([found[place].metadata for place in places], [text, ""], "metadata")
    await control.close()
    reader = await consumer(name, group_id=group)
    values = [int(m.value) for m in await take(reader, 6)]
    equal(values, [4, 5, 6, 7, 8, 9], "values from the commit")
    await reader.stop()
    reader = await consumer(group_id=unique("group"))
    answer = await reader.committed(places[0])
    equal(answer, None, "committed offset of a group that never committed")
    await reader.stop()


async def seek_by_time():
    name, base = await topic(2), HOUR_AGO_MS
    records = [
        {"value": b"%d" % n, "partition": n % 2, "timestamp_ms": base + 100 * n}
        for n in range(100)
    ]
    await send(name, records)
    reader = await consumer()
    places = [TopicPartition(name, partition) for partition in range(2)]
    reader.assign(places)
    found = await reader.offsets_for_times({place: base + 6000 for place in places})
    for place, answer in found.items():
        reader.seek(place, answer.offset)
    values = sorted(int(m.value) for m in await take(reader, 40))
    equal(values, list(range(60, 100)), "values from the time on")
    await reader.stop()


async def too_large(name, size):
    sender = await producer(max_request_size=20_000_000, max_batch_size=20_000_000)
    try:
        await sender.send_and_wait(name, b"x" * size)
    except MessageSizeTooLargeError:
        return
    finally:
        await sender.stop()
    raise AssertionError(f"a record of {size} bytes was not refused")


async def large_message():
    name = await topic()
    wide_options = {"max_request_size": 20_000_000, "max_batch_size": 20_000_000}
    value = bytes(n * 7 % 251 for n in range(900_000))
    await send(name, [{"value": value}])
    equal((await read(name, 1))[0].value == value, True, "900 kB come back")
    await too_large(name, 2_000_000)
    wide = await topic(**{"max.message.bytes": "5000000"})
    await send(wide, [{"value": value * 4}], **wide_options)
    equal((await read(wide, 1))[0].value == value * 4, True, "3.6 MB come back")
    await too_large(wide, 6_000_000)


async def many_partitions():
    name = await topic(100)
    await send(name, [{"value": b"%d" % n, "partition": n % 100} for n in range(1000)])
    reader = await consumer(name)
    equal(reader.partitions_for_topic(name), set(range(100)), "partitions")
    found = await take(reader, 1000)
    await reader.stop()
    equal(sorted(int(m.value) for m in found), list(range(1000)), "values")
    equal(all(int(m.value) % 100 == m.partition for m in found), True, "partitions kept")


async def auto_create():
    name = unique("aiokafka-auto")
    await send(name, [{"value": b"x"}])
    equal((await read(name, 1))[0].value, b"x", "value")


async def configs_of(control, name):
    asked = [ConfigResource(ConfigResourceType.TOPIC, name)]
    (response,) = await control.describe_configs(asked)
    ((code, _, _, _, entries),) = response.resources
    equal(code, 0, "error code of describing the configuration")
    return {entry[0]: entry[1] for entry in entries}


async def admin_configs(control, name):
    found = await configs_of(control, name)
    equal(found["retention.ms"], "3600000", "retention.ms as created")
    equal(found["cleanup.policy"], "delete", "cleanup.policy by default")
    # This client replaces the whole configuration: what is not named is a default again.
    change = {"cleanup.policy": "compact,delete"}
    (response,) = await control.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name, change)]
    )
    equal([code for code, *_ in response.resources], [0], "error codes of the change")

    async def changed():
        found = await configs_of(control, name)
        policies = set(found["cleanup.policy"].split(","))
        return found["retention.ms"] != "3600000" and policies == {"compact", "delete"}

    await eventually("the changed configuration", changed)


async def group_of(control, group):
    """State and number of members."""
    (response,) = await control.describe_consumer_groups([group])
    ((code, _, state, _, _, members, *_),) = response.groups
    equal(code, 0, "error code of describing the group")
    return state, len(members)


async def admin_groups(control, name):
    group = unique("group")
    reader = await consumer(name, group_id=group)
    await take(reader, 4)
    await reader.commit()
    listed = [found for found, *_ in await control.list_consumer_groups()]
    equal(group in listed, True, "the group is listed")
    equal(await group_of(control, group), ("Stable", 1), "the group")
    await reader.stop()

    async def emptied():
        return await group_of(control, group) == ("Empty", 0)

    await eventually("the group is empty", emptied)
    offsets = await control.list_consumer_group_offsets(group)
    equal({place.topic for place in offsets}, {name}, "topics with an offset")


async def partitions_of(control, name):
    (described,) = await control.describe_topics([name])
    return len(described["partitions"]) if described["error_code"] == 0 else 0


async def administration():
    name = unique("aiokafka-admin")
    control = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await control.start()
    new = NewTopic(name, 2, 1, topic_configs={"retention.ms": "3600000"})
    checked(await control.create_topics([new], validate_only=True))
    checked(await control.create_topics([new]))
    answer = await control.create_topics([new])
    codes = [code for _, code, *_ in answer.topic_errors]
    equal(codes, [TOPIC_ALREADY_EXISTS], "error codes of creating it twice")

    def partitions(count):
        async def probe():
            return await partitions_of(control, name) == count

        return probe

    await eventually("two partitions", partitions(2))
    equal(name in await control.list_topics(), True, "the topic is listed")
    equal(len((await control.describe_cluster())["brokers"]) >= 1, True, "the cluster has nodes")
    await admin_configs(control, name)
    await control.create_partitions({name: NewPartitions(5)})
    await eventually("five partitions", partitions(5))
    await send(name, [{"key": b"k", "value": b"%d" % n, "partition": 4} for n in range(10)])
    place = TopicPartition(name, 4)
    answer = await control.delete_records({place: RecordsToDelete(6)})
    equal(answer, {place: 6}, "start after deletion")
    reader = await consumer()
    equal(await reader.beginning_offsets([place]), {place: 6}, "beginning")
    equal(await reader.end_offsets([place]), {place: 10}, "end")
    await reader.stop()
    await admin_groups(control, name)
    response = await control.delete_topics([name])
    equal([code for _, code in response.topic_error_codes], [0], "error codes of the deletion")

    async def gone():
        return name not in await control.list_topics()

    await eventually("the topic is gone", gone)
    checked(await control.create_topics([NewTopic(name, 1, 1)]))
    await eventually("one partition", partitions(1))
    await send(name, [{"value": b"new"}])
    equal([(m.offset, m.value) for m in await read(name, 1)], [(0, b"new")], "records")


async def fetch_long_poll():
    name = await topic()
    await send(name, [{"value": b"first"}])
    reader = await consumer(fetch_max_wait_ms=15000, request_timeout_ms=40000)
    reader.assign([TopicPartition(name, 0)])
    await take(reader, 1)
    # By now the next fetch waits at the broker.
    equal(await reader.getmany(timeout_ms=1500), {}, "records before one was sent")
    start = time.monotonic()
    await send(name, [{"value": b"second"}])
    await take(reader, 1, 12)
    waited = time.monotonic() - start
    equal(waited < 3, True, f"the record came in good time ({waited:.1f} s of a wait of 15 s)")


async def restart():
    name, partitions = await topic(3), 3
    journal, stop = Journal(partitions), asyncio.Event()
    sender = await producer(enable_idempotence=True, acks="all", request_timeout_ms=60000)
    live = {partition: [] for partition in range(partitions)}

    async def one(future, number):
        try:
            journal.ack((await future).partition, number)
        except KafkaError as error:
            journal.fail(error)

    async def produce():
        number, tasks = 0, []
        while not stop.is_set():
            future = await sender.send(name, b"%d" % number, partition=number % partitions)
            tasks.append(asyncio.create_task(one(future, number)))
            number += 1
            await asyncio.sleep(0.001)
        await asyncio.wait_for(asyncio.gather(*tasks), 60)

    reader = await consumer()
    reader.assign([TopicPartition(name, partition) for partition in range(partitions)])

    async def consume():
        while True:
            for batch in (await reader.getmany(timeout_ms=200)).values():
                for message in batch:
                    live[message.partition].append(int(message.value))

    producing, consuming = asyncio.create_task(produce()), asyncio.create_task(consume())
    await asyncio.to_thread(crash_often, journal)
    stop.set()
    await producing
    await eventually("all is read", lambda: sum(map(len, live.values())) >= journal.total())
    consuming.cancel()
    equal(journal.failures, [], "failed deliveries")
    journal.check(live, "while it happened")
    again = {partition: [] for partition in range(partitions)}
    for message in await read(name, journal.total(), partitions):
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

main({name: lambda case=case: asyncio.run(case()) for name, case in CASES.items()}, member)
