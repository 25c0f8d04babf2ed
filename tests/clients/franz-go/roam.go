package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"rivvend.tests/suite"
)

const (
	session   = 6 * time.Second
	rebalance = 15 * time.Second
	// Records of one poll: few, so that there are many commits.
	pollRecords = 200
)

// roamer is a member of the case group_chaos in a process of its own. It tells on standard output
// what it owns, what it has read and what it has committed, in this order, until somebody ends it.
type roamer struct {
	client *kgo.Client
	topic  string
	told   string
	// Something that was read is not committed yet.
	behind bool
	lock   sync.Mutex
	owned  []int32
	// The member and the generation that gave it what it owns.
	id         string
	generation int32
}

func roam(group, topic string) {
	r := &roamer{topic: topic}
	changes := func(change func([]int32)) func(
		context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			r.lock.Lock()
			change(partitions[topic])
			r.lock.Unlock()
		}
	}
	lose := changes(func(gone []int32) {
		r.owned = slices.DeleteFunc(r.owned, func(p int32) bool { return slices.Contains(gone, p) })
	})
	r.client = connect(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.SessionTimeout(session), kgo.RebalanceTimeout(rebalance),
		kgo.HeartbeatInterval(500*time.Millisecond), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(changes(func(new []int32) {
			r.owned = append(r.owned, new...)
			r.id, r.generation = r.client.GroupMetadata()
		})),
		kgo.OnPartitionsRevoked(lose), kgo.OnPartitionsLost(lose))
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, syscall.SIGTERM)
	for len(leave) == 0 {
		r.step()
	}
	r.client.CloseAllowingRebalance()
	fmt.Println("left")
}

// step reads a little and commits it. Nothing is taken away in between.
func (r *roamer) step() {
	limit, cancel := context.WithTimeout(forever, 200*time.Millisecond)
	fetches := r.client.PollRecords(limit, pollRecords)
	cancel()
	r.tell()
	said := &strings.Builder{}
	fetches.EachPartition(func(read kgo.FetchTopicPartition) {
		if count := len(read.Records); count > 0 {
			first, last := read.Records[0].Offset, read.Records[count-1].Offset
			fmt.Fprintln(said, "read", read.Partition, first, last)
		}
	})
	// One write: whoever is killed has told all of it or nothing.
	suite.Must(os.Stdout.WriteString(said.String()))
	// What was kept back in a rebalance is committed behind it, even if nothing more is there to read.
	if r.behind = r.behind || said.Len() > 0; r.behind {
		limit, cancel := context.WithTimeout(forever, rebalance)
		limit = kgo.PreCommitFnContext(limit, r.mayCommit)
		if err := r.client.CommitUncommittedOffsets(limit); err != nil {
			fmt.Println("refused", err)
		} else {
			r.behind = false
			fmt.Println("committed")
		}
		cancel()
	}
	r.client.AllowRebalance()
}

var errOtherGeneration = errors.New("the group has gone on since this was read")

// mayCommit keeps back what was read in an earlier generation: this client would commit it in the
// name of the present one, in which others may have come further.
func (r *roamer) mayCommit(commit *kmsg.OffsetCommitRequest) error {
	r.lock.Lock()
	defer r.lock.Unlock()
	if commit.MemberID != r.id || commit.Generation != r.generation {
		return errOtherGeneration
	}
	return nil
}

// tell says what it owns in which generation, if that is something new. The client may have joined
// the next one already, in which what it still has to give up may be another's.
func (r *roamer) tell() {
	r.lock.Lock()
	owned, id, generation := slices.Sorted(slices.Values(r.owned)), r.id, r.generation
	r.lock.Unlock()
	if id == "" {
		return
	}
	partitions := strings.ReplaceAll(strings.Trim(fmt.Sprint(owned), "[]"), " ", ",")
	line := fmt.Sprintf("owns %d %s %s", generation, id, partitions)
	if line != r.told {
		r.told = line
		fmt.Println(line)
	}
}
