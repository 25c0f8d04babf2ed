package rivvend;

import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * The cases of Kafka's Java client: one line each on standard output, as tests/clients/run wants
 * it. Cases wait for timers of the broker most of the time, so several run at once; the one that
 * kills the broker runs alone, at the end.
 */
public final class Suite {
    private static final int AT_ONCE = 4;
    private static final Duration PATIENCE = Duration.ofSeconds(60);
    private static final Duration PATIENCE_RESTART =
        Duration.ofSeconds(150 + 10 * Restart.KILLS);

    /** A case says by an exception that it failed. */
    interface Case {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0 && arguments[0].equals("member")) {
            Groups.memberOfItsOwn(arguments[1], arguments[2]);
            return;
        }
        ExecutorService pool = Executors.newCachedThreadPool(work -> {
            Thread thread = new Thread(work);
            thread.setDaemon(true);
            return thread;
        });
        ExecutorService lanes = Executors.newFixedThreadPool(AT_ONCE);
        List<Future<Boolean>> results = new ArrayList<>();
        cases().forEach((name, body) ->
            results.add(lanes.submit(() -> report(pool, name, PATIENCE, body))));
        boolean passed = true;
        for (Future<Boolean> result : results) {
            passed &= result.get();
        }
        if (System.getenv("BROKER") == null) {
            System.out.println("skipped restart: nothing here can kill this broker");
        } else {
            passed &= report(pool, "restart", PATIENCE_RESTART, Restart::run);
        }
        // Clients of a case that timed out would keep the process alive.
        Runtime.getRuntime().halt(passed ? 0 : 1);
    }

    /** Slow ones first, so that they do not run last and alone. */
    private static Map<String, Case> cases() {
        Map<String, Case> cases = new LinkedHashMap<>();
        cases.put("group_crash", Groups::crash);
        cases.put("group_static", Groups::statics);
        cases.put("group_three", Groups::three);
        cases.put("group_cooperative", Groups::cooperative);
        cases.put("produce_consume", Records::produceConsume);
        cases.put("keys_headers", Records::keysHeaders);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            cases.put("codec_" + codec, () -> Records.codec(codec));
        }
        cases.put("timestamps", Records::timestamps);
        cases.put("acks", Records::acks);
        cases.put("idempotent", Records::idempotent);
        cases.put("commit_metadata", Groups::commitMetadata);
        cases.put("seek_by_time", Records::seekByTime);
        cases.put("large_message", Records::largeMessage);
        cases.put("refused_record", Records::refusedRecord);
        cases.put("refused_transactions", Records::refusedTransactions);
        cases.put("many_partitions", Records::manyPartitions);
        cases.put("auto_create", Records::autoCreate);
        cases.put("admin", Administration::admin);
        cases.put("ui_calls", Administration::userInterface);
        cases.put("fetch_long_poll", Records::longPoll);
        return cases;
    }

    private static boolean report(
            ExecutorService pool, String name, Duration patience, Case body) {
        Future<?> running = pool.submit(() -> {
            body.run();
            return null;
        });
        String why;
        try {
            running.get(patience.toMillis(), TimeUnit.MILLISECONDS);
            System.out.println("ok " + name);
            return true;
        } catch (TimeoutException late) {
            running.cancel(true);
            why = "not done after " + patience.toSeconds() + " s";
        } catch (Exception failed) {
            Throwable cause = failed.getCause() == null ? failed : failed.getCause();
            cause.printStackTrace();
            why = cause.toString().replaceAll("\\s+", " ");
        }
        System.out.println("FAILED " + name + ": " + why);
        return false;
    }
}
