package rivvend;

import static rivvend.Kit.check;
import static rivvend.Kit.same;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * The broker is killed again and again under a default producer and a reader: nothing that was
 * acknowledged is lost, nothing is doubled, and each partition keeps its order.
 */
final class Restart {
    private static final int PARTITIONS = 2;
    private static final int BETWEEN_KILLS = 500;
    static final int KILLS = Integer.parseInt(System.getenv().getOrDefault("RESTARTS", "3"));

    private final String topic;
    private final AtomicInteger sent = new AtomicInteger();
    private final AtomicInteger acknowledged = new AtomicInteger();
    private final AtomicInteger read = new AtomicInteger();
    private final ConcurrentLinkedQueue<String> wrong = new ConcurrentLinkedQueue<>();
    private volatile boolean sending = true;
    private volatile boolean reading = true;

    private Restart(String topic) {
        this.topic = topic;
    }

    static void run() throws Exception {
        new Restart(Kit.topic("restart", PARTITIONS)).go();
    }

    private void go() throws Exception {
        var producer = Kit.producer(Map.of());
        var consumer = Kit.consumer(Map.of());
        consumer.assign(Kit.partitions(topic, PARTITIONS));
        Thread sender = daemon(() -> send(producer));
        Thread reader = daemon(() -> read(consumer));
        for (int kill = 0; kill < KILLS; kill++) {
            int before = acknowledged.get();
            Kit.await("acknowledgements",
                () -> acknowledged.get() - before > BETWEEN_KILLS || !wrong.isEmpty());
            control("kill");
            control("start");
        }
        int before = acknowledged.get();
        Kit.await("acknowledgements after the last start", () -> acknowledged.get() > before);
        sending = false;
        sender.join();
        producer.close(Duration.ofSeconds(60));
        same(sent.get(), acknowledged.get(), "records acknowledged");
        Kit.await("the reader", () -> read.get() >= sent.get() || !wrong.isEmpty());
        reading = false;
        reader.join();
        check(wrong.isEmpty(), wrong.size() + " faults, the first: " + wrong.peek());
        same(sent.get(), read.get(), "records read");
        same(sent.get(), Kit.drain(topic, PARTITIONS, sent.get()).size(), "records there");
        System.err.println(sent + " records were acknowledged through " + KILLS + " kills");
    }

    private static Thread daemon(Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    private void send(Producer<byte[], byte[]> producer) {
        while (sending) {
            int number = sent.getAndIncrement();
            byte[] value = Records.bytes(Integer.toString(number));
            producer.send(new ProducerRecord<>(topic, number % PARTITIONS, null, value),
                (metadata, failed) -> {
                    if (failed == null) {
                        acknowledged.incrementAndGet();
                    } else {
                        wrong.add("refused: " + failed);
                    }
                });
            LockSupport.parkNanos(TimeUnit.MICROSECONDS.toNanos(500));
        }
    }

    private void read(KafkaConsumer<byte[], byte[]> consumer) {
        var next = new HashMap<Integer, Integer>();
        try (consumer) {
            while (reading) {
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    int expected = next.getOrDefault(record.partition(), record.partition());
                    int found = Integer.parseInt(Records.text(record.value()));
                    if (found != expected) {
                        wrong.add(record.partition() + "/" + record.offset() + " holds " + found
                            + " instead of " + expected);
                    }
                    next.put(record.partition(), found + PARTITIONS);
                    read.incrementAndGet();
                }
            }
        } catch (RuntimeException failed) {
            wrong.add("reading: " + failed);
        }
    }

    private static void control(String verb) throws Exception {
        Process process = new ProcessBuilder(List.of(System.getenv("BROKER"), verb))
            .redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
        check(process.waitFor(90, TimeUnit.SECONDS), "broker " + verb + " takes too long");
        same(0, process.exitValue(), "exit of broker " + verb);
    }
}
