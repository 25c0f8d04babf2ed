package rivvend;

import static rivvend.Kit.check;
import static rivvend.Kit.same;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.common.TopicPartition;

/** Consumer groups over the classic protocol, with the eager and the cooperative assignor. */
final class Groups {
    private static final String ASSIGNOR = "partition.assignment.strategy";

    private Groups() {}

    /** Three members share six partitions, and every record is read once. */
    static void three() throws Exception {
        share(Map.of(ASSIGNOR, RangeAssignor.class.getName()));
    }

    private static void share(Map<String, Object> settings) throws Exception {
        String topic = Kit.topic("three", 6);
        String group = Kit.fresh("three");
        Queue<String> read = new ConcurrentLinkedQueue<>();
        try (var one = new Member(group, topic, read, settings);
                var two = new Member(group, topic, read, settings);
                var three = new Member(group, topic, read, settings)) {
            var members = List.of(one, two, three);
            Kit.await("two partitions each", () -> shared(members, 2));
            Kit.fill(topic, 6, 600);
            Kit.await("600 records read", () -> read.size() >= 600);
            same(600, new HashSet<>(read).size(), "distinct records");
            same(600, read.size(), "records");
        }
    }

    /** Whether the members have `each` partitions of their own, and all of them together. */
    private static boolean shared(List<Member> members, int each) {
        var all = new HashSet<Integer>();
        for (Member member : members) {
            var owned = member.owned();
            all.addAll(owned);
            if (owned.size() != each) {
                return false;
            }
        }
        return all.size() == each * members.size();
    }

    /** A second member takes half; the first keeps the other half all the time. */
    static void cooperative() throws Exception {
        Map<String, Object> settings = Map.of(ASSIGNOR, CooperativeStickyAssignor.class.getName());
        String topic = Kit.topic("cooperative", 6);
        String group = Kit.fresh("cooperative");
        Queue<String> read = new ConcurrentLinkedQueue<>();
        try (var one = new Member(group, topic, read, settings)) {
            Kit.await("all partitions for the first", () -> one.owned().size() == 6);
            try (var two = new Member(group, topic, read, settings)) {
                Kit.await("three partitions each", () -> shared(List.of(one, two), 3));
                same(3, one.revoked.size(), "partitions taken from the first member");
                same(two.owned(), new HashSet<>(one.revoked), "partitions handed over");
                Kit.fill(topic, 6, 60);
                Kit.await("60 records read", () -> read.size() >= 60);
            }
            Kit.await("all partitions again", () -> one.owned().size() == 6);
        }
        same(60, read.size(), "records");
    }

    /** A member in a process of its own is killed; the others take over when its session ends. */
    static void crash() throws Exception {
        String topic = Kit.topic("crash", 6);
        String group = Kit.fresh("crash");
        Queue<String> read = new ConcurrentLinkedQueue<>();
        Process victim = new ProcessBuilder(
                ProcessHandle.current().info().command().orElseThrow(), "-cp",
                System.getProperty("java.class.path"), "rivvend.Suite", "member", group, topic)
            .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        try (var one = new Member(group, topic, read, Map.of());
                var two = new Member(group, topic, read, Map.of())) {
            var said = new BufferedReader(new InputStreamReader(victim.getInputStream()));
            for (String line = ""; !"owns 2".equals(line); line = said.readLine()) {
                check(line != null, "the member that is to crash ended by itself");
            }
            Kit.await("two partitions each", () -> shared(List.of(one, two), 2));
            victim.destroyForcibly().waitFor();
            Kit.await("three partitions each", () -> shared(List.of(one, two), 3));
            Kit.fill(topic, 6, 60);
            Kit.await("60 records read", () -> read.size() >= 60);
        } finally {
            victim.destroyForcibly();
        }
    }

    /** The process of crash(): a member that tells what it owns, until it is killed. */
    static void memberOfItsOwn(String group, String topic) throws Exception {
        Queue<String> read = new ConcurrentLinkedQueue<>();
        try (var member = new Member(group, topic, read, Map.of())) {
            for (int told = -1; ; Thread.sleep(10)) {
                if (member.owned().size() != told) {
                    told = member.owned().size();
                    System.out.println("owns " + told);
                }
            }
        }
    }

    /** A static member that comes back within its session finds its partitions, unnoticed. */
    static void statics() throws Exception {
        String topic = Kit.topic("static", 4);
        String group = Kit.fresh("static");
        Queue<String> read = new ConcurrentLinkedQueue<>();
        Map<String, Object> first = named("first");
        Map<String, Object> second = named("second");
        var returning = new Member(group, topic, read, first);
        try (var staying = new Member(group, topic, read, second)) {
            Kit.await("two partitions each", () -> shared(List.of(returning, staying), 2));
            Kit.await("one generation", () -> staying.generation > 0
                && returning.generation == staying.generation);
            var owned = returning.owned();
            int generation = staying.generation;
            int assignments = staying.assignments.get();
            returning.close();
            try (var again = new Member(group, topic, read, first)) {
                Kit.await("two partitions again", () -> again.owned().size() == 2);
                same(owned, again.owned(), "partitions of the member that came back");
                Kit.fill(topic, 4, 40);
                Kit.await("40 records read", () -> read.size() >= 40);
                same(generation, staying.generation, "generation");
                same(generation, again.generation, "generation of the one that came back");
                same(assignments, staying.assignments.get(), "assignments of the one that stayed");
            }
        } finally {
            returning.close();
        }
    }

    private static Map<String, Object> named(String instance) {
        return Map.of("group.instance.id", instance, "session.timeout.ms", 30_000,
            ASSIGNOR, RangeAssignor.class.getName());
    }

    static void commitMetadata() throws Exception {
        String topic = Kit.topic("commit", 1);
        String group = Kit.fresh("commit");
        Kit.fill(topic, 1, 10);
        var partition = new TopicPartition(topic, 0);
        var settings = Map.<String, Object>of("group.id", group, "enable.auto.commit", false);
        try (var consumer = Kit.consumer(settings)) {
            consumer.assign(List.of(partition));
            check(consumer.committed(Set.of(partition)).get(partition) == null,
                "a new group has an offset");
            String note = "zwölf \u2713";
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(7, note)));
            var committed = consumer.committed(Set.of(partition)).get(partition);
            same(7L, committed.offset(), "committed offset");
            same(note, committed.metadata(), "metadata");
        }
        try (var consumer = Kit.consumer(settings)) {
            consumer.subscribe(List.of(topic));
            same(7L, Kit.poll(consumer, 3).get(0).offset(), "first offset after the commit");
            consumer.commitSync();
            var committed = consumer.committed(Set.of(partition)).get(partition);
            same(10L, committed.offset(), "offset committed as a member");
        }
    }
}
