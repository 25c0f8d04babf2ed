package suite

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"
)

// shared tells whether the members have `each` partitions of their own, and all together.
func shared(each int, members ...Member) bool {
	all := map[int32]bool{}
	for _, member := range members {
		owned := member.Owned()
		if len(owned) != each {
			return false
		}
		for _, partition := range owned {
			all[partition] = true
		}
	}
	return len(all) == each*len(members)
}

// readOnce waits until the members have read the numbered records, each of them once.
func readOnce(read *Read, count int) {
	Await(fmt.Sprint(count, " records read"), func() bool { return len(read.Values()) >= count })
	values := read.Values()
	slices.Sort(values)
	Same(count, len(values), "records")
	Same(count, len(slices.Compact(values)), "distinct records")
}

func groupThree(client Client) {
	name, group, read := topic(client, "three", 6, nil), fresh("three"), &Read{}
	var members []Member
	for range 3 {
		member := client.Member(group, name, read, MemberSettings{})
		defer member.Close()
		members = append(members, member)
	}
	Await("two partitions each", func() bool { return shared(2, members...) })
	fill(client, name, 6, 600)
	readOnce(read, 600)
}

// groupCooperative: a second member takes half; the first keeps the other half all the time.
func groupCooperative(client Client) {
	name, group, read := topic(client, "cooperative", 6, nil), fresh("cooperative"), &Read{}
	settings := MemberSettings{Cooperative: true}
	one := client.Member(group, name, read, settings)
	defer one.Close()
	Await("all partitions for the first", func() bool { return len(one.Owned()) == 6 })
	two := client.Member(group, name, read, settings)
	Await("three partitions each", func() bool { return shared(3, one, two) })
	Check(slices.Equal(one.Revoked(), two.Owned()),
		"taken from the first %v, given to the second %v", one.Revoked(), two.Owned())
	fill(client, name, 6, 60)
	readOnce(read, 60)
	two.Close()
	Await("all partitions again", func() bool { return len(one.Owned()) == 6 })
}

// groupCrash: a member in a process of its own is killed; the others take over after its session.
func groupCrash(client Client) {
	name, group, read := topic(client, "crash", 6, nil), fresh("crash"), &Read{}
	victim := exec.Command(Must(os.Executable()), "member", group, name)
	victim.Stderr = os.Stderr
	said := bufio.NewScanner(Must(victim.StdoutPipe()))
	Ok(victim.Start())
	defer func() {
		// It may have been killed already.
		_ = victim.Process.Kill()
		_ = victim.Wait()
	}()
	one := client.Member(group, name, read, MemberSettings{})
	defer one.Close()
	two := client.Member(group, name, read, MemberSettings{})
	defer two.Close()
	for said.Text() != "owns 2" {
		Check(said.Scan(), "the member that is to crash ended by itself")
	}
	Await("two partitions each", func() bool { return shared(2, one, two) })
	Ok(victim.Process.Kill())
	Await("three partitions each", func() bool { return shared(3, one, two) })
	fill(client, name, 6, 60)
	readOnce(read, 60)
}

// memberOfItsOwn is the process of groupCrash: it tells what it owns, until it is killed.
func memberOfItsOwn(client Client, group, topic string) {
	member := client.Member(group, topic, &Read{}, MemberSettings{})
	for told := -1; ; time.Sleep(10 * time.Millisecond) {
		if owned := len(member.Owned()); owned != told {
			told = owned
			fmt.Println("owns", told)
		}
	}
}

// groupStatic: a static member that comes back within its session finds its partitions, unnoticed.
func groupStatic(client Client) {
	name, group, read := topic(client, "static", 4, nil), fresh("static"), &Read{}
	returning := client.Member(group, name, read, MemberSettings{Instance: "first"})
	staying := client.Member(group, name, read, MemberSettings{Instance: "second"})
	defer staying.Close()
	Await("two partitions each", func() bool { return shared(2, returning, staying) })
	owned, assignments := returning.Owned(), staying.Assignments()
	returning.Close()
	again := client.Member(group, name, read, MemberSettings{Instance: "first"})
	defer again.Close()
	Await("two partitions again", func() bool { return len(again.Owned()) == 2 })
	Check(slices.Equal(owned, again.Owned()), "it had %v and has %v", owned, again.Owned())
	fill(client, name, 4, 40)
	readOnce(read, 40)
	Same(assignments, staying.Assignments(), "assignments of the one that stayed")
}

func commitMetadata(client Client) {
	name, group, read := topic(client, "commit", 1, nil), fresh("commit"), &Read{}
	fill(client, name, 1, 10)
	admin := client.Admin()
	defer admin.Close()
	offset, _ := admin.Committed(group, name, 0)
	Same(-1, offset, "offset of a new group")
	note := "zwölf ✓"
	admin.Commit(group, name, 0, 7, note)
	offset, metadata := admin.Committed(group, name, 0)
	Same(7, offset, "committed offset")
	Same(note, metadata, "metadata")
	member := client.Member(group, name, read, MemberSettings{})
	Await("three records", func() bool { return len(read.Values()) >= 3 })
	member.Close()
	Same("[7 8 9]", fmt.Sprint(read.Values()), "records after the commit")
	offset, _ = admin.Committed(group, name, 0)
	Same("10", strconv.FormatInt(offset, 10), "offset committed by the member as it left")
}
