package rivvend;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Clients with their default settings, names that no other run uses, and checks that say why. */
final class Kit {
    static final String BOOTSTRAP = System.getenv("BOOTSTRAP");
    /** How long a wait for something that is due may take. */
    static final Duration PATIENCE = Duration.ofSeconds(40);
    private static final Duration POLL = Duration.ofMillis(200);
    private static final String RUN = Long.toString(System.currentTimeMillis(), 36);
    private static final AtomicInteger NEXT = new AtomicInteger();

    private Kit() {}

    /** A name for a topic or a group. */
    static String fresh(String what) {
        return "java-" + what + "-" + RUN + "-" + NEXT.incrementAndGet();
    }

    private static Properties properties(Map<String, Object> settings) {
        Properties all = new Properties();
        all.put("bootstrap.servers", BOOTSTRAP);
        all.putAll(settings);
        return all;
    }

    static Admin admin() {
        return Admin.create(properties(Map.of()));
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, Object> settings) {
        return new KafkaProducer<>(
            properties(settings), new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> settings) {
        Properties all = properties(Map.of("auto.offset.reset", "earliest"));
        all.putAll(settings);
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** A new topic, with `settings` of its own as name and value in turn. */
    static String topic(String what, int partitions, String... settings) throws Exception {
        String name = fresh(what);
        Map<String, String> configs = new java.util.TreeMap<>();
        for (int i = 0; i < settings.length; i += 2) {
            configs.put(settings[i], settings[i + 1]);
        }
        try (Admin admin = admin()) {
            NewTopic topic = new NewTopic(name, Optional.of(partitions), Optional.empty());
            admin.createTopics(List.of(topic.configs(configs))).all().get();
        }
        return name;
    }

    static List<TopicPartition> partitions(String topic, int count) {
        return IntStream.range(0, count).mapToObj(p -> new TopicPartition(topic, p)).toList();
    }

    /** Sends values "0" to count - 1 over the partitions in turn, and waits for all of them. */
    static void fill(String topic, int partitions, int count) throws Exception {
        try (var producer = producer(Map.of())) {
            var sent = new ArrayList<java.util.concurrent.Future<?>>();
            for (int i = 0; i < count; i++) {
                byte[] value = Integer.toString(i).getBytes();
                sent.add(producer.send(
                    new ProducerRecord<>(topic, i % partitions, null, value)));
            }
            for (var one : sent) {
                one.get();
            }
        }
    }

    /** Reads `count` records of whole partitions from their start, by assignment. */
    static List<ConsumerRecord<byte[], byte[]>> drain(String topic, int partitions, int count) {
        try (var consumer = consumer(Map.of())) {
            consumer.assign(partitions(topic, partitions));
            consumer.seekToBeginning(consumer.assignment());
            return poll(consumer, count);
        }
    }

    /** The next `count` records. More than that is an error: somebody doubled one. */
    static List<ConsumerRecord<byte[], byte[]>> poll(
            KafkaConsumer<byte[], byte[]> consumer, int count) {
        var records = new ArrayList<ConsumerRecord<byte[], byte[]>>();
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (records.size() < count) {
            check(System.nanoTime() < deadline, records.size() + " records of " + count);
            consumer.poll(POLL).forEach(records::add);
        }
        same(count, records.size(), "records read");
        return records;
    }

    static void await(String what, BooleanSupplier done) throws InterruptedException {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (!done.getAsBoolean()) {
            check(System.nanoTime() < deadline, "waited in vain: " + what);
            Thread.sleep(10);
        }
    }

    static void check(boolean holds, String why) {
        if (!holds) {
            throw new IllegalStateException(why);
        }
    }

    static void same(Object expected, Object actual, String what) {
        check(expected.equals(actual), what + ": " + actual + " instead of " + expected);
    }

    /** What `body` is refused with; that it is not refused is an error. */
    static Throwable refused(Class<? extends Throwable> expected, Suite.Case body) {
        try {
            body.run();
        } catch (ExecutionException failed) {
            check(expected.isInstance(failed.getCause()),
                failed.getCause() + " instead of " + expected.getSimpleName());
            return failed.getCause();
        } catch (Exception other) {
            check(expected.isInstance(other), other + " instead of " + expected.getSimpleName());
            return other;
        }
        throw new IllegalStateException("no " + expected.getSimpleName());
    }
}
