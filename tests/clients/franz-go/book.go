package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"rivvend.tests/suite"
)

// Scheduling and the looks at the group come on top of the time-outs.
const slack = 5 * time.Second

// Faults that are told of; the others follow from them, most of the time.
const faultsShown = 4

// The exit code of a command that did not find what it was to look at.
const notFound = 3

// book is what is known of a group while it lives, and judges it.
type book struct {
	lock   sync.Mutex
	faults []string
	// By partition: the offset after the last acknowledged record, which of those before were read
	// by whom ever, and the highest offset that was seen committed.
	ends []int64
	read []map[int64]bool
	high []int64
	// By generation.
	owners  map[int]map[int32]string
	told    map[int]time.Time
	reasons map[int][]reason
	state   string
	counts  map[string]int
	longest time.Duration
}

type reason struct {
	at   time.Time
	text string
}

// described is what `rivvend group describe` prints.
type described struct {
	State      string
	Generation int
	Rebalances []struct {
		At         time.Time
		Generation int
		Reason     string
	}
	Members []struct {
		Member     string
		Assignment []struct{ Partitions []int32 }
	}
}

func newBook(partitions int) *book {
	b := &book{ends: make([]int64, partitions), read: make([]map[int64]bool, partitions),
		high: make([]int64, partitions), owners: map[int]map[int32]string{},
		told: map[int]time.Time{}, reasons: map[int][]reason{}, counts: map[string]int{}}
	for partition := range b.read {
		b.read[partition] = map[int64]bool{}
	}
	return b
}

func (b *book) fault(format string, arguments ...any) {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.blame(format, arguments...)
}

func (b *book) blame(format string, arguments ...any) {
	b.faults = append(b.faults, fmt.Sprintf(format, arguments...))
}

// check ends the case at the first fault.
func (b *book) check() {
	b.lock.Lock()
	defer b.lock.Unlock()
	suite.Check(len(b.faults) == 0, "%d faults, the first: %s", len(b.faults),
		strings.Join(b.faults[:min(faultsShown, len(b.faults))], "; "))
}

func (b *book) sent(partition int32, offset int64) {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.ends[partition] = max(b.ends[partition], offset+1)
}

// committed takes an offset that the group has: it never goes back.
func (b *book) committed(partition int32, offset int64) {
	b.lock.Lock()
	defer b.lock.Unlock()
	if before := b.high[partition]; offset < before {
		b.blame("the offset of partition %d went from %d back to %d", partition, before, offset)
	}
	b.high[partition] = max(b.high[partition], offset)
}

// heard takes a line of a member.
func (b *book) heard(words []string) {
	b.lock.Lock()
	defer b.lock.Unlock()
	if len(words) == 0 {
		return
	}
	b.counts[words[0]]++
	switch {
	case words[0] == "owns" && len(words) >= 3:
		b.owns(suite.Must(strconv.Atoi(words[1])), words[2], words[3:])
	case words[0] == "read" && len(words) == 4:
		numbers := numbersOf(words[1:])
		for offset := numbers[1]; offset <= numbers[2]; offset++ {
			b.read[numbers[0]][offset] = true
		}
	}
}

// owns notes the partitions of a member in a generation: nobody else may have them in it.
func (b *book) owns(generation int, member string, partitions []string) {
	if _, there := b.told[generation]; !there {
		b.told[generation], b.owners[generation] = time.Now(), map[int32]string{}
	}
	if len(partitions) == 0 {
		return
	}
	for _, partition := range numbersOf(strings.Split(partitions[0], ",")) {
		owner := b.owners[generation][int32(partition)]
		if owner != "" && owner != member {
			b.blame("in generation %d, partition %d belongs to %s and to %s", generation, partition,
				owner, member)
		}
		b.owners[generation][int32(partition)] = member
	}
}

func numbersOf(words []string) []int64 {
	var numbers []int64
	for _, word := range words {
		numbers = append(numbers, suite.Must(strconv.ParseInt(word, 10, 64)))
	}
	return numbers
}

// lookAtGroup takes what the broker tells of the group.
func (b *book) lookAtGroup(group string) {
	command := exec.Command(os.Getenv("RIVVEN_BINARY"), "group", "describe", group, "-o", "json",
		"--server", suite.Bootstrap())
	command.Env = slices.DeleteFunc(os.Environ(),
		func(entry string) bool { return strings.HasPrefix(entry, "RIVVEN_") })
	command.Stderr = os.Stderr
	text, err := command.Output()
	var found described
	if err == nil {
		err = json.Unmarshal(text, &found)
	}
	b.lock.Lock()
	defer b.lock.Unlock()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == notFound && len(b.told) == 0 {
		return
	}
	if err != nil {
		b.blame("the group can not be described: %v", err)
		return
	}
	b.state = found.State
	for _, told := range found.Rebalances {
		one := reason{told.At, told.Reason}
		if !slices.Contains(b.reasons[told.Generation], one) {
			b.reasons[told.Generation] = append(b.reasons[told.Generation], one)
		}
	}
	owners := map[int32]string{}
	for _, member := range found.Members {
		for _, assignment := range member.Assignment {
			for _, partition := range assignment.Partitions {
				if other := owners[partition]; other != "" {
					b.blame("the broker says that partition %d belongs to %s and to %s", partition,
						other, member.Member)
				}
				owners[partition] = member.Member
			}
		}
	}
}

// isDrained tells whether everything is read and committed, and the group at rest.
func (b *book) isDrained() bool {
	b.lock.Lock()
	defer b.lock.Unlock()
	return slices.Equal(b.ends, b.high) && b.state == "Stable"
}

func (b *book) missing() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	for partition, end := range b.ends {
		if b.high[partition] != end {
			unread := end
			for b.read[partition][unread-1] {
				unread--
			}
			return fmt.Sprintf("partition %d is committed up to %d of %d, and read from %d on",
				partition, b.high[partition], end, unread)
		}
	}
	return "the group is " + b.state
}

// conclude judges what can only be judged at the end.
func (b *book) conclude() {
	b.lock.Lock()
	for partition, end := range b.ends {
		for offset := range end {
			if !b.read[partition][offset] {
				b.blame("nobody read partition %d, offset %d", partition, offset)
				break
			}
		}
	}
	for generation := 1; generation <= slices.Max(slices.Collect(maps.Keys(b.told))); generation++ {
		b.judge(generation)
	}
	b.lock.Unlock()
	b.check()
}

// judge holds that a generation has a reason, and that the rebalance that leads to it ends within
// its time-outs: with an assignment, or with a reason for yet another one.
func (b *book) judge(generation int) {
	reasons := b.reasons[generation]
	if len(reasons) == 0 {
		b.blame("nothing says why there was generation %d", generation)
		return
	}
	first := func(reasons []reason) time.Time {
		return slices.MinFunc(reasons, func(x, y reason) int { return x.at.Compare(y.at) }).at
	}
	for _, one := range reasons {
		if strings.TrimSpace(one.text) == "" {
			b.blame("generation %d has an empty reason", generation)
		}
	}
	begun, ended := first(reasons), b.told[generation]
	if next := b.reasons[generation+1]; len(next) > 0 && (ended.IsZero() || first(next).Before(ended)) {
		ended = first(next)
	}
	took := ended.Sub(begun)
	if ended.IsZero() || took > session+rebalance+slack {
		b.blame("the rebalance to generation %d took %v", generation, took)
	}
	b.longest = max(b.longest, took)
}

// String is a summary of what there was.
func (b *book) String() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	texts := 0
	for _, reasons := range b.reasons {
		texts += len(reasons)
	}
	return fmt.Sprintf("%d generations with %d reasons, the longest rebalance took %v; "+
		"%d commits, %d refused", len(b.reasons), texts, b.longest.Round(time.Millisecond),
		b.counts["committed"], b.counts["refused"])
}
