package suite

import (
	"bytes"
	"slices"
)

const (
	codeInvalidPartitions = 37
	codeInvalidConfig     = 40
	codeTopicExists       = 36
)

// administer does with topics and groups what one does.
func administer(client Client) {
	admin := client.Admin()
	defer admin.Close()
	name := fresh("admin")
	hour := map[string]string{"retention.ms": "3600000"}
	Ok(admin.CreateTopic(name, 3, hour))
	Same(codeTopicExists, client.Code(admin.CreateTopic(name, 3, hour)), "code of a second one")
	bad := map[string]string{"no.such": "1"}
	refused := client.Code(admin.CreateTopic(fresh("bad"), 1, bad))
	Same(codeInvalidConfig, refused, "code of a setting that does not exist")
	// Kafka answers before its own brokers know.
	Await("the topic to be listed", func() bool { return slices.Contains(admin.Topics(), name) })
	Same(3, admin.Partitions(name), "partitions")

	Same("3600000", admin.Configs(name)["retention.ms"], "a setting")
	Same("delete", admin.Configs(name)["cleanup.policy"], "a default")
	Ok(admin.SetConfig(name, "max.message.bytes", "2000000"))
	Same("2000000", admin.Configs(name)["max.message.bytes"], "a setting that was changed")
	Same("3600000", admin.Configs(name)["retention.ms"], "a setting that was not")
	refused = client.Code(admin.SetConfig(name, "retention.ms", "soon"))
	Same(codeInvalidConfig, refused, "code of a bad value")

	Ok(admin.AddPartitions(name, 5))
	Same(5, admin.Partitions(name), "partitions after growing")
	refused = client.Code(admin.AddPartitions(name, 2))
	Same(codeInvalidPartitions, refused, "code of shrinking")

	fill(client, name, 1, 10)
	Same(4, admin.DeleteRecords(name, 0, 4), "low watermark")
	Same(4, admin.Offset(name, 0, Earliest), "earliest offset")
	Same(10, admin.Offset(name, 0, Latest), "latest offset")

	administerGroup(client, admin, name)

	admin.DeleteTopic(name)
	Await("the topic to be gone", func() bool { return !slices.Contains(admin.Topics(), name) })
	Ok(admin.CreateTopic(name, 1, nil))
	fill(client, name, 1, 3)
	records := drain(client, name, 1, 3)
	Same(0, records[0].Offset, "first offset of the new topic")
	Check(bytes.Equal([]byte("0"), records[0].Value), "the new topic has old records")
	admin.DeleteTopic(name)
}

func administerGroup(client Client, admin Admin, topic string) {
	group, read := fresh("admin"), &Read{}
	member := client.Member(group, topic, read, MemberSettings{})
	Await("five partitions", func() bool { return len(member.Owned()) == 5 })
	Await("six records", func() bool { return len(read.Values()) >= 6 })
	state, members := admin.Group(group)
	Same("stable", state, "state")
	Same(1, members, "members")
	member.Close()
	state, members = admin.Group(group)
	Same("empty", state, "state")
	Same(0, members, "members")
	Check(slices.Contains(admin.Groups(), group), "the group is not listed")
	offset, _ := admin.Committed(group, topic, 0)
	Same(10, offset, "committed offset")
	admin.DeleteGroup(group)
	Check(!slices.Contains(admin.Groups(), group), "the group is still listed")
	offset, _ = admin.Committed(group, topic, 0)
	Same(-1, offset, "offset of a group that was deleted")
}
