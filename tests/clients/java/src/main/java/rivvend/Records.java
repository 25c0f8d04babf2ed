package rivvend;

import static rivvend.Kit.check;
import static rivvend.Kit.same;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.stream.StreamSupport;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.InvalidRecordException;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** Producing and reading without groups. */
final class Records {
    /** Somewhen in 2023, so that "now" can not pass for it. */
    private static final long LONG_AGO_MS = 1_700_000_000_000L;

    private Records() {}

    static void produceConsume() throws Exception {
        String topic = Kit.topic("produce", 3);
        Kit.fill(topic, 3, 3000);
        var next = new HashMap<Integer, Long>();
        for (var record : Kit.drain(topic, 3, 3000)) {
            long offset = next.merge(record.partition(), 1L, Long::sum) - 1;
            same(offset, record.offset(), "offset");
            same(offset * 3 + record.partition(), Long.parseLong(text(record.value())), "value");
        }
    }

    static void keysHeaders() throws Exception {
        String topic = Kit.topic("headers", 1);
        byte[] binary = {0, -1, 10, 13, -128};
        try (var producer = Kit.producer(Map.of())) {
            var headers = List.<Header>of(
                new RecordHeader("b", bytes("first")), new RecordHeader("a", binary),
                new RecordHeader("b", bytes("second")), new RecordHeader("none", (byte[]) null),
                new RecordHeader("empty", new byte[0]));
            byte[] none = null;
            producer.send(new ProducerRecord<>(topic, 0, none, bytes("v"), headers)).get();
            producer.send(new ProducerRecord<>(topic, 0, new byte[0], new byte[0])).get();
            producer.send(new ProducerRecord<>(topic, 0, binary, null)).get();
        }
        var records = Kit.drain(topic, 1, 3);
        var headers = StreamSupport.stream(records.get(0).headers().spliterator(), false).toList();
        same(List.of("b", "a", "b", "none", "empty"),
            headers.stream().map(h -> h.key()).toList(), "order of the headers");
        check(records.get(0).key() == null, "a null key came back as something");
        same("second", text(headers.get(2).value()), "the second header of a name");
        check(Arrays.equals(binary, headers.get(1).value()), "a binary header changed");
        check(headers.get(3).value() == null, "a null header came back as something");
        same(0, headers.get(4).value().length, "length of an empty header");
        same(0, records.get(1).key().length, "length of an empty key");
        same(0, records.get(1).value().length, "length of an empty value");
        check(Arrays.equals(binary, records.get(2).key()), "a binary key changed");
        check(records.get(2).value() == null, "a null value came back as something");
    }

    /** The client must also have compressed: its own metric tells the ratio that it reached. */
    static void codec(String codec) throws Exception {
        String topic = Kit.topic("codec-" + codec, 1);
        int count = 1000;
        double ratio;
        var settings = Map.<String, Object>of("compression.type", codec, "linger.ms", 50);
        try (var producer = Kit.producer(settings)) {
            var sent = new ArrayList<Future<RecordMetadata>>();
            for (int i = 0; i < count; i++) {
                sent.add(producer.send(new ProducerRecord<>(topic, 0, null, squeezable(i))));
            }
            for (var one : sent) {
                one.get();
            }
            ratio = producer.metrics().entrySet().stream()
                .filter(metric -> metric.getKey().name().equals("compression-rate-avg")
                    && metric.getKey().group().equals("producer-metrics"))
                .mapToDouble(metric -> (Double) metric.getValue().metricValue())
                .findFirst().orElseThrow();
        }
        check(codec.equals("none") == (ratio > 0.9), "batches were sent at ratio " + ratio);
        var records = Kit.drain(topic, 1, count);
        for (int i = 0; i < count; i++) {
            check(Arrays.equals(squeezable(i), records.get(i).value()), "record " + i + " changed");
        }
    }

    static void timestamps() throws Exception {
        String topic = Kit.topic("times", 1);
        sendAt(topic, LONG_AGO_MS, LONG_AGO_MS + 1000, LONG_AGO_MS + 2000);
        for (var record : Kit.drain(topic, 1, 3)) {
            same(LONG_AGO_MS + 1000 * record.offset(), record.timestamp(), "timestamp");
            same("CreateTime", record.timestampType().toString(), "type of the timestamp");
        }
        try (var consumer = Kit.consumer(Map.of())) {
            var partition = new TopicPartition(topic, 0);
            var exact = consumer.offsetsForTimes(Map.of(partition, LONG_AGO_MS + 1000));
            same(1L, exact.get(partition).offset(), "offset of a record's own time");
            var between = consumer.offsetsForTimes(Map.of(partition, LONG_AGO_MS + 1001));
            same(2L, between.get(partition).offset(), "offset of a time between two records");
            same(LONG_AGO_MS + 2000, between.get(partition).timestamp(), "time that was found");
            var after = consumer.offsetsForTimes(Map.of(partition, LONG_AGO_MS + 2001));
            check(after.get(partition) == null, "something was found after the last record");
        }
        String appended = Kit.topic("log-append", 1, "message.timestamp.type", "LogAppendTime");
        sendAt(appended, LONG_AGO_MS);
        var record = Kit.drain(appended, 1, 1).get(0);
        check(record.timestamp() > LONG_AGO_MS + 1000, "the broker left the producer's time");
        same("LogAppendTime", record.timestampType().toString(), "type of the timestamp");
    }

    static void seekByTime() throws Exception {
        String topic = Kit.topic("seek", 1);
        sendAt(topic, LONG_AGO_MS, LONG_AGO_MS + 1000, LONG_AGO_MS + 2000, LONG_AGO_MS + 3000);
        try (var consumer = Kit.consumer(Map.of())) {
            var partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            var found = consumer.offsetsForTimes(Map.of(partition, LONG_AGO_MS + 1500));
            consumer.seek(partition, found.get(partition).offset());
            same(2L, Kit.poll(consumer, 2).get(0).offset(), "first offset read");
        }
    }

    static void acks() throws Exception {
        for (String acks : List.of("0", "1", "all")) {
            String topic = Kit.topic("acks", 1);
            var settings = Map.<String, Object>of("acks", acks, "enable.idempotence", false);
            try (var producer = Kit.producer(settings)) {
                RecordMetadata last = null;
                for (int i = 0; i < 100; i++) {
                    last = producer.send(new ProducerRecord<>(topic, bytes("x"))).get();
                }
                same(!acks.equals("0"), last.hasOffset(), "an offset with acks=" + acks);
                check(acks.equals("0") || last.offset() == 99, "offset with acks=" + acks);
            }
            Kit.drain(topic, 1, 100);
        }
    }

    /** The default producer is idempotent; small batches keep five of them in flight. */
    static void idempotent() throws Exception {
        String topic = Kit.topic("idempotent", 2);
        int count = 5000;
        var settings = Map.<String, Object>of("batch.size", 200, "linger.ms", 0);
        try (var producer = Kit.producer(settings)) {
            var sent = new ArrayList<Future<RecordMetadata>>();
            for (int i = 0; i < count; i++) {
                sent.add(producer.send(
                    new ProducerRecord<>(topic, i % 2, null, bytes(Integer.toString(i)))));
            }
            for (int i = 0; i < count; i++) {
                same((long) i / 2, sent.get(i).get().offset(), "offset acknowledged");
            }
        }
        for (var record : Kit.drain(topic, 2, count)) {
            String expected = Long.toString(record.offset() * 2 + record.partition());
            same(expected, text(record.value()), "value at its place");
        }
    }

    static void largeMessage() throws Exception {
        String topic = Kit.topic("large", 1);
        byte[] fits = new byte[900_000];
        byte[] large = new byte[2_000_000];
        Arrays.fill(large, (byte) 7);
        String larger = Kit.topic("larger", 1, "max.message.bytes", "3000000");
        // The client has a limit of its own; the broker's is the one to be seen here.
        var settings = Map.<String, Object>of("max.request.size", 10_000_000);
        try (var producer = Kit.producer(settings)) {
            producer.send(new ProducerRecord<>(topic, fits)).get();
            Kit.refused(RecordTooLargeException.class,
                () -> producer.send(new ProducerRecord<>(topic, large)).get());
            producer.send(new ProducerRecord<>(topic, bytes("after"))).get();
            producer.send(new ProducerRecord<>(larger, large)).get();
        }
        var records = Kit.drain(topic, 1, 2);
        check(Arrays.equals(fits, records.get(0).value()), "the large record changed");
        same("after", text(records.get(1).value()), "the record after a refused one");
        check(Arrays.equals(large, Kit.drain(larger, 1, 1).get(0).value()), "2 MB changed");
    }

    /** KIP-467: the record at fault fails with the reason, those beside it because of it. */
    static void refusedRecord() throws Exception {
        String topic = Kit.topic("keyed", 1, "cleanup.policy", "compact");
        var sent = new ArrayList<Future<RecordMetadata>>();
        try (var producer = Kit.producer(Map.<String, Object>of("linger.ms", 60_000))) {
            byte[] none = null;
            for (byte[] key : Arrays.asList(bytes("a"), bytes("b"), none, bytes("d"))) {
                sent.add(producer.send(new ProducerRecord<>(topic, 0, key, bytes("v"))));
            }
            producer.flush();
        }
        var fault = Kit.refused(InvalidRecordException.class, () -> sent.get(2).get());
        check(fault.getMessage().contains("record 2 has no key"), "the reason: " + fault);
        for (int beside : List.of(0, 1, 3)) {
            var shared = Kit.refused(KafkaException.class, () -> sent.get(beside).get());
            check(shared.getMessage().contains("part of a batch"), "beside it: " + shared);
        }
    }

    /** They are not served; a client that wants them is told so at once. */
    static void refusedTransactions() throws Exception {
        var settings = Map.<String, Object>of("transactional.id", Kit.fresh("transactions"));
        try (var producer = Kit.producer(settings)) {
            long start = System.nanoTime();
            var why = Kit.refused(KafkaException.class, producer::initTransactions);
            check(why.getMessage().contains("transactions are not served"), "the reason: " + why);
            check(System.nanoTime() - start < 20_000_000_000L, "it took as long as it may wait");
        }
    }

    static void manyPartitions() throws Exception {
        String topic = Kit.topic("many", 100);
        Kit.fill(topic, 100, 1000);
        long distinct = Kit.drain(topic, 100, 1000).stream()
            .map(ConsumerRecord::partition).distinct().count();
        same(100L, distinct, "partitions with records");
    }

    static void autoCreate() throws Exception {
        String produced = Kit.fresh("auto");
        Kit.fill(produced, 1, 10);
        Kit.drain(produced, 1, 10);
        String read = Kit.fresh("auto-read");
        try (var consumer = Kit.consumer(Map.of("group.id", Kit.fresh("auto-group")));
                var admin = Kit.admin()) {
            consumer.subscribe(List.of(read));
            consumer.poll(Duration.ofSeconds(1));
            same(true, admin.listTopics().names().get().contains(read), "created by a reader");
        }
    }

    /** A reader that may wait 20 s gets each record at once: thirty of them in less than 10 s. */
    static void longPoll() throws Exception {
        String topic = Kit.topic("long-poll", 1);
        var settings = Map.<String, Object>of("fetch.max.wait.ms", 20_000);
        try (var consumer = Kit.consumer(settings); var producer = Kit.producer(Map.of())) {
            consumer.assign(Kit.partitions(topic, 1));
            consumer.poll(Duration.ofMillis(500));
            long start = System.nanoTime();
            for (int i = 0; i < 30; i++) {
                producer.send(new ProducerRecord<>(topic, bytes("x"))).get();
                Kit.poll(consumer, 1);
                // The next fetch is on its way, and waits, before its record is sent.
                consumer.poll(Duration.ofMillis(20));
            }
            long elapsedMs = (System.nanoTime() - start) / 1_000_000;
            check(elapsedMs < 10_000, "thirty records took " + elapsedMs + " ms");
        }
    }

    private static void sendAt(String topic, long... times) throws Exception {
        try (var producer = Kit.producer(Map.of())) {
            for (long time : times) {
                producer.send(new ProducerRecord<>(topic, 0, time, null, bytes("x"))).get();
            }
        }
    }

    private static byte[] squeezable(int number) {
        return bytes((number + " can be compressed very well. ").repeat(20));
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }
}
