package main

import (
	"bufio"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"rivvend.tests/suite"
)

var (
	chaosTime       = time.Duration(suite.Number("CHAOS_SECONDS", 20)) * time.Second
	chaosMembers    = suite.Number("CHAOS_MEMBERS", 8)
	chaosPartitions = suite.Number("CHAOS_PARTITIONS", 24)
)

const (
	// How often the group is looked at.
	lookInterval = 400 * time.Millisecond
	// How long a member that is frozen stays so: longer than its session.
	frozenTime = session + 2*time.Second
	// How long members may take to read and commit the rest.
	drainTime = 90 * time.Second
	// Records sent to one partition in a second.
	partitionRate = 8
)

// chaos is the state of the case group_chaos.
type chaos struct {
	topic, group string
	book         *book
	// Those that are members, and all that ever were.
	members, all []*wanderer
	random       *rand.Rand
	stop         chan struct{}
	halt         sync.Once
	killed, left int
	frozen       int
}

// wanderer is the process of a member, as the case sees it.
type wanderer struct {
	process *exec.Cmd
	frozen  bool
	ended   chan struct{}
}

func (franz) ChaosPatience() time.Duration { return chaosTime + drainTime + 60*time.Second }

// Chaos lets a group live while its members are killed, frozen beyond their sessions, sent away and
// replaced, and records are written all the time: every record is read, no partition has two owners
// in a generation, no committed offset goes back, and every rebalance has its reason and its end.
func (franz) Chaos() {
	name := fmt.Sprintf("chaos-%x", time.Now().UnixMilli())
	c := &chaos{topic: name, group: name, book: newBook(chaosPartitions),
		random: rand.New(rand.NewSource(time.Now().UnixNano())), stop: make(chan struct{})}
	control := franz{}.Admin().(admin)
	defer control.Close()
	suite.Ok(control.CreateTopic(c.topic, chaosPartitions, nil))
	defer c.end()
	for range chaosMembers {
		c.begin()
	}
	sent := c.send()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watch(control.client)
	}()
	for until := time.Now().Add(chaosTime); time.Now().Before(until); {
		time.Sleep(time.Duration(500+c.random.Intn(2500)) * time.Millisecond)
		c.event()
		c.book.check()
	}
	c.calm()
	c.halt.Do(func() { close(c.stop) })
	records := <-sent
	<-watched
	c.drain(control.client)
	c.book.lookAtGroup(c.group)
	c.book.conclude()
	fmt.Fprintf(os.Stderr, "chaos: %d records, %d members began, %d killed, %d frozen, %d left; %s\n",
		records, len(c.all), c.killed, c.frozen, c.left, c.book)
}

// begin starts one more member.
func (c *chaos) begin() {
	process := exec.Command(suite.Must(os.Executable()), "roam", c.group, c.topic)
	process.Stderr = os.Stderr
	lines := bufio.NewScanner(suite.Must(process.StdoutPipe()))
	suite.Ok(process.Start())
	made := &wanderer{process: process, ended: make(chan struct{})}
	c.members, c.all = append(c.members, made), append(c.all, made)
	go func() {
		defer close(made.ended)
		for lines.Scan() {
			c.book.heard(strings.Fields(lines.Text()))
		}
		// Whoever is killed ends with an error.
		_ = process.Wait()
	}()
}

// event does something to the group: as many members come as go.
func (c *chaos) event() {
	missing := chaosMembers - len(c.members)
	if missing > 0 && c.random.Intn(2) == 0 {
		c.begin()
		return
	}
	if len(c.members) == 0 {
		return
	}
	at := c.random.Intn(len(c.members))
	chosen := c.members[at]
	switch dice := c.random.Intn(10); {
	case dice < 5:
		c.killed++
		c.remove(at, syscall.SIGKILL)
	case dice < 7 && !chosen.frozen:
		c.left++
		c.remove(at, syscall.SIGTERM)
	case !chosen.frozen:
		c.frozen++
		chosen.freeze()
	}
}

func (c *chaos) remove(at int, signal syscall.Signal) {
	chosen := c.members[at]
	c.members = append(c.members[:at], c.members[at+1:]...)
	_ = chosen.process.Process.Signal(signal)
}

// freeze stops a member for longer than its session lasts. It wakes as a zombie.
func (w *wanderer) freeze() {
	w.frozen = true
	_ = w.process.Process.Signal(syscall.SIGSTOP)
	time.AfterFunc(frozenTime, func() { _ = w.process.Process.Signal(syscall.SIGCONT) })
}

// calm waits until nobody is frozen any more, and fills the group.
func (c *chaos) calm() {
	time.Sleep(frozenTime)
	for len(c.members) < chaosMembers {
		c.begin()
	}
}

func (c *chaos) end() {
	c.halt.Do(func() { close(c.stop) })
	for _, member := range c.all {
		// Most have ended long ago.
		_ = member.process.Process.Kill()
		<-member.ended
	}
}

// send writes records until it is told to stop; how many is told when all are acknowledged.
func (c *chaos) send() chan int64 {
	sent, partitions := make(chan int64, 1), int32(chaosPartitions)
	client := connect(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	pause := time.Second / time.Duration(chaosPartitions*partitionRate)
	go func() {
		defer client.Close()
		var count int64
		var acknowledged atomic.Int64
		begun := time.Now()
		for {
			select {
			case <-c.stop:
				if err := client.Flush(forever); err != nil {
					c.book.fault("not all is sent: %v", err)
				}
				sent <- acknowledged.Load()
				return
			case <-time.After(5 * time.Millisecond):
			}
			for ; time.Duration(count)*pause < time.Since(begun); count++ {
				record := &kgo.Record{Topic: c.topic, Partition: int32(count) % partitions,
					Value: []byte(strconv.FormatInt(count, 10))}
				client.Produce(forever, record, func(r *kgo.Record, err error) {
					if err != nil {
						c.book.fault("a record was refused: %v", err)
						return
					}
					acknowledged.Add(1)
					c.book.sent(r.Partition, r.Offset)
				})
			}
		}
	}()
	return sent
}

// watch looks at the group again and again: its reasons, and what it has committed.
func (c *chaos) watch(control *kadm.Client) {
	for {
		select {
		case <-c.stop:
			return
		case <-time.After(lookInterval):
		}
		c.book.lookAtGroup(c.group)
		c.lookAtOffsets(control)
	}
}

func (c *chaos) lookAtOffsets(control *kadm.Client) {
	offsets, err := control.FetchOffsets(forever, c.group)
	if err != nil {
		c.book.fault("offsets can not be fetched: %v", err)
		return
	}
	for partition := range int32(chaosPartitions) {
		if found, there := offsets.Lookup(c.topic, partition); there {
			c.book.committed(partition, found.At)
		}
	}
}

// drain waits until everything is read and committed.
func (c *chaos) drain(control *kadm.Client) {
	for until := time.Now().Add(drainTime); !c.book.isDrained(); {
		suite.Check(time.Now().Before(until), "after %v: %s", drainTime, c.book.missing())
		time.Sleep(lookInterval)
		c.book.check()
		c.book.lookAtGroup(c.group)
		c.lookAtOffsets(control)
	}
}
