package rivvend;

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;

/** One member of a consumer group, polling in a thread of its own until it is closed. */
final class Member implements AutoCloseable, ConsumerRebalanceListener {
    /** What all members together have read. */
    final Queue<String> read;
    /** Partitions that were taken away while the member stayed. */
    final Queue<Integer> revoked = new ConcurrentLinkedQueue<>();
    final AtomicInteger assignments = new AtomicInteger();
    volatile int generation = -1;
    private volatile Set<Integer> owned = Set.of();
    private volatile boolean closing;
    private volatile RuntimeException failure;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final Thread thread;

    Member(String group, String topic, Queue<String> read, Map<String, Object> settings) {
        this.read = read;
        var all = new HashMap<String, Object>(Map.of("group.id", group,
            "session.timeout.ms", 6000, "heartbeat.interval.ms", 500));
        all.putAll(settings);
        consumer = Kit.consumer(all);
        consumer.subscribe(List.of(topic), this);
        thread = new Thread(this::poll);
        thread.setDaemon(true);
        thread.start();
    }

    /** The partitions that it owns now. */
    Set<Integer> owned() {
        if (failure != null) {
            throw failure;
        }
        return owned;
    }

    private void poll() {
        try (consumer) {
            while (!closing) {
                consumer.poll(Duration.ofMillis(100))
                    .forEach(record -> read.add(Records.text(record.value())));
                generation = consumer.groupMetadata().generationId();
            }
        } catch (WakeupException expected) {
            // close() said so.
        } catch (RuntimeException failed) {
            failure = failed;
        }
    }

    private void update(Collection<TopicPartition> partitions, boolean add) {
        var next = new TreeSet<>(owned);
        for (var partition : partitions) {
            if (add) {
                next.add(partition.partition());
            } else {
                next.remove(partition.partition());
            }
        }
        owned = next;
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        update(partitions, true);
        assignments.incrementAndGet();
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        update(partitions, false);
        if (!closing) {
            partitions.forEach(partition -> revoked.add(partition.partition()));
        }
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        update(partitions, false);
    }

    @Override
    public void close() throws InterruptedException {
        closing = true;
        thread.join(Kit.PATIENCE.toMillis());
    }
}
