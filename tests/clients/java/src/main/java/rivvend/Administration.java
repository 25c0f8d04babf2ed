package rivvend;

import static rivvend.Kit.check;
import static rivvend.Kit.same;

import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** The admin client: what one does with topics and groups, and what a web page asks for. */
final class Administration {
    private Administration() {}

    static void admin() throws Exception {
        try (Admin admin = Kit.admin()) {
            String topic = Kit.fresh("admin");
            createAndDescribe(admin, topic);
            configure(admin, topic);
            grow(admin, topic);
            deleteRecords(admin, topic);
            groups(admin, topic);
            deleteAndCreateAgain(admin, topic);
        }
    }

    private static void createAndDescribe(Admin admin, String topic) throws Exception {
        var wanted = List.of(
            new NewTopic(topic, 3, (short) 1).configs(Map.of("retention.ms", "3600000")));
        var options = new org.apache.kafka.clients.admin.CreateTopicsOptions();
        admin.createTopics(wanted, options.validateOnly(true)).all().get();
        check(!listed(admin, topic), "created by a validation");
        var created = admin.createTopics(wanted);
        same(3, created.numPartitions(topic).get(), "partitions answered");
        same("3600000", created.config(topic).get().get("retention.ms").value(), "its setting");
        Kit.refused(TopicExistsException.class, () -> admin.createTopics(wanted).all().get());
        Kit.refused(InvalidConfigurationException.class, () -> admin.createTopics(List.of(
            new NewTopic(Kit.fresh("bad"), 1, (short) 1).configs(Map.of("no.such", "1"))))
            .all().get());
        Kit.await("the topic to be listed", () -> listed(admin, topic));
        TopicDescription described = describe(admin, topic);
        same(3, described.partitions().size(), "partitions described");
        same(created.topicId(topic).get(), described.topicId(), "topic id");
        var partition = described.partitions().get(0);
        same(partition.leader().id(), partition.isr().get(0).id(), "leader in the in-sync set");
        var nodes = admin.describeCluster().nodes().get();
        same(Set.of(partition.leader().id()),
            nodes.stream().map(node -> node.id()).collect(Collectors.toSet()), "nodes");
        check(!admin.describeCluster().clusterId().get().isEmpty(), "no cluster id");
    }

    private static void configure(Admin admin, String topic) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        Config before = admin.describeConfigs(List.of(resource)).all().get().get(resource);
        same(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG,
            before.get("retention.ms").source(), "source of what was set");
        same("delete", before.get("cleanup.policy").value(), "a default");
        check(before.get("cleanup.policy").isDefault(), "a default is not said to be one");
        alter(admin, resource, "max.message.bytes", "2000000", AlterConfigOp.OpType.SET);
        alter(admin, resource, "cleanup.policy", "compact", AlterConfigOp.OpType.APPEND);
        alter(admin, resource, "retention.ms", null, AlterConfigOp.OpType.DELETE);
        Kit.refused(InvalidConfigurationException.class,
            () -> alter(admin, resource, "retention.ms", "soon", AlterConfigOp.OpType.SET));
        Config after = admin.describeConfigs(List.of(resource)).all().get().get(resource);
        same("2000000", after.get("max.message.bytes").value(), "a setting");
        same("delete,compact", after.get("cleanup.policy").value(), "a list added to");
        same("604800000", after.get("retention.ms").value(), "a setting deleted");
        alter(admin, resource, "cleanup.policy", "compact", AlterConfigOp.OpType.SUBTRACT);
    }

    private static void alter(
            Admin admin, ConfigResource resource, String key, String value,
            AlterConfigOp.OpType how) throws Exception {
        var change = new AlterConfigOp(new ConfigEntry(key, value), how);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).all().get();
    }

    private static void grow(Admin admin, String topic) throws Exception {
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
        same(5, describe(admin, topic).partitions().size(), "partitions after growing");
        Kit.refused(InvalidPartitionsException.class, () ->
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all().get());
    }

    private static void deleteRecords(Admin admin, String topic) throws Exception {
        Kit.fill(topic, 1, 10);
        var partition = new TopicPartition(topic, 0);
        var deleted = admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(4)));
        same(4L, deleted.lowWatermarks().get(partition).get().lowWatermark(), "low watermark");
        same(4L, offset(admin, partition, OffsetSpec.earliest()), "earliest offset");
        try (var consumer = Kit.consumer(Map.of())) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            same(4L, Kit.poll(consumer, 6).get(0).offset(), "first offset read");
        }
        admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(-1))).all().get();
        same(10L, offset(admin, partition, OffsetSpec.earliest()), "earliest of nothing left");
    }

    private static void groups(Admin admin, String topic) throws Exception {
        String group = Kit.fresh("admin");
        var partition = new TopicPartition(topic, 0);
        try (var consumer = Kit.consumer(Map.of("group.id", group))) {
            consumer.subscribe(List.of(topic));
            Kit.await("an assignment", () -> {
                consumer.poll(Duration.ofMillis(100));
                return !consumer.assignment().isEmpty();
            });
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(5)));
            var described = describeGroup(admin, group);
            same(GroupState.STABLE, described.groupState(), "state");
            var member = described.members().iterator().next();
            same(5, member.assignment().topicPartitions().size(), "partitions of the member");
            check(!member.host().isEmpty(), "no host");
        }
        same(GroupState.EMPTY, describeGroup(admin, group).groupState(), "state");
        check(admin.listGroups().all().get().stream().anyMatch(g -> g.groupId().equals(group)),
            "the group is not listed");
        admin.alterConsumerGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(6)))
            .all().get();
        same(6L, committed(admin, group).get(partition).offset(), "offset set by the admin");
        admin.deleteConsumerGroupOffsets(group, Set.of(partition)).all().get();
        check(committed(admin, group).get(partition) == null, "the offset is still there");
        admin.deleteConsumerGroups(List.of(group)).all().get();
        Kit.refused(GroupIdNotFoundException.class, () -> describeGroup(admin, group));
    }

    private static void deleteAndCreateAgain(Admin admin, String topic) throws Exception {
        var first = describe(admin, topic).topicId();
        admin.deleteTopics(List.of(topic)).all().get();
        Kit.await("the topic to be gone", () -> !listed(admin, topic));
        Kit.refused(UnknownTopicOrPartitionException.class, () -> describe(admin, topic));
        admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
        Kit.await("the new topic to be listed", () -> listed(admin, topic));
        check(!first.equals(describe(admin, topic).topicId()), "the id of the deleted topic");
        Kit.fill(topic, 1, 3);
        same(0L, Kit.drain(topic, 1, 3).get(0).offset(), "first offset of the new topic");
        admin.deleteTopics(List.of(topic)).all().get();
    }

    /** What web pages ask again and again: everything there is, with sizes and lag. */
    static void userInterface() throws Exception {
        String topic = Kit.topic("ui", 2);
        String group = Kit.fresh("ui");
        Kit.fill(topic, 2, 1000);
        try (Admin admin = Kit.admin()) {
            overview(admin, topic);
            sizes(admin, topic);
            browse(admin, topic);
            lag(admin, topic, group);
            settings(admin, topic);
        }
    }

    private static void overview(Admin admin, String topic) throws Exception {
        var options = new org.apache.kafka.clients.admin.ListTopicsOptions().listInternal(true);
        Set<String> names = admin.listTopics(options).names().get();
        check(names.contains(topic), "not listed");
        Collection<TopicDescription> all = admin.describeTopics(List.of(topic))
            .allTopicNames().get().values();
        same(2, all.iterator().next().partitions().size(), "partitions");
        same(1, admin.describeCluster().nodes().get().size(), "nodes");
        check(admin.describeCluster().controller().get().id() >= 0, "no controller");
        admin.describeFeatures().featureMetadata().get();
    }

    private static void sizes(Admin admin, String topic) throws Exception {
        int node = admin.describeCluster().nodes().get().iterator().next().id();
        var directories = admin.describeLogDirs(List.of(node)).allDescriptions().get().get(node);
        long size = directories.values().stream()
            .flatMap(directory -> directory.replicaInfos().entrySet().stream())
            .filter(replica -> replica.getKey().topic().equals(topic))
            .mapToLong(replica -> replica.getValue().size()).sum();
        check(size > 1000, "a topic with 1000 records has " + size + " bytes");
    }

    private static void browse(Admin admin, String topic) throws Exception {
        var partition = new TopicPartition(topic, 1);
        same(0L, offset(admin, partition, OffsetSpec.earliest()), "earliest");
        same(500L, offset(admin, partition, OffsetSpec.latest()), "latest");
        long newest = offset(admin, partition, OffsetSpec.maxTimestamp());
        check(newest >= 0 && newest < 500, "offset of the newest time: " + newest);
        same(0L, offset(admin, partition, OffsetSpec.forTimestamp(0)), "offset of 1970");
        try (var consumer = Kit.consumer(Map.of("max.poll.records", 20))) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 480);
            same(480L, Kit.poll(consumer, 20).get(0).offset(), "first of the last page");
            // A page from a time on begins with the first record that is not older.
            consumer.seek(partition, 250);
            long time = Kit.poll(consumer, 20).get(0).timestamp();
            long from = offset(admin, partition, OffsetSpec.forTimestamp(time));
            check(from <= 250, "offset of the time of record 250: " + from);
            consumer.seek(partition, Math.max(from - 1, 0));
            for (var record : Kit.poll(consumer, 20)) {
                check(record.timestamp() < time == record.offset() < from,
                    "record " + record.offset() + " is on the wrong side of the time of " + from);
            }
        }
    }

    private static void lag(Admin admin, String topic, String group) throws Exception {
        try (var consumer = Kit.consumer(Map.of("group.id", group))) {
            consumer.subscribe(List.of(topic));
            Kit.poll(consumer, 1000);
        }
        var one = new TopicPartition(topic, 1);
        var committed = committed(admin, group);
        same(2, committed.size(), "partitions with an offset");
        Kit.fill(topic, 2, 10);
        long lag = offset(admin, one, OffsetSpec.latest()) - committed.get(one).offset();
        same(5L, lag, "lag");
        same(GroupState.EMPTY, describeGroup(admin, group).groupState(), "state");
    }

    private static void settings(Admin admin, String topic) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        var options = new DescribeConfigsOptions().includeDocumentation(true).includeSynonyms(true);
        Config config = admin.describeConfigs(List.of(resource), options).all().get().get(resource);
        var entry = config.get("retention.ms");
        check(entry.documentation() != null && !entry.documentation().isEmpty(), "no explanation");
        same(ConfigEntry.ConfigType.LONG, entry.type(), "type");
        for (String shown : List.of("cleanup.policy", "retention.ms", "retention.bytes",
                "segment.bytes", "max.message.bytes", "min.insync.replicas", "compression.type",
                "message.timestamp.type")) {
            check(config.get(shown) != null, "no setting " + shown);
        }
        int node = admin.describeCluster().nodes().get().iterator().next().id();
        var broker = new ConfigResource(ConfigResource.Type.BROKER, Integer.toString(node));
        check(!admin.describeConfigs(List.of(broker)).all().get().get(broker).entries().isEmpty(),
            "a broker without settings");
    }

    private static boolean listed(Admin admin, String topic) {
        try {
            return admin.listTopics().names().get().contains(topic);
        } catch (Exception failed) {
            throw new IllegalStateException(failed);
        }
    }

    private static TopicDescription describe(Admin admin, String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    private static org.apache.kafka.clients.admin.ConsumerGroupDescription describeGroup(
            Admin admin, String group) throws Exception {
        return admin.describeConsumerGroups(List.of(group)).all().get().get(group);
    }

    private static Map<TopicPartition, OffsetAndMetadata> committed(Admin admin, String group)
            throws Exception {
        return admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
    }

    private static long offset(Admin admin, TopicPartition partition, OffsetSpec which)
            throws Exception {
        return admin.listOffsets(Map.of(partition, which)).all().get().get(partition).offset();
    }
}
