package suite

import (
	"slices"
	"sync"
)

// Ownership is what a member knows of its partitions, told by the call-backs of its client.
type Ownership struct {
	lock        sync.Mutex
	owned       []int32
	revoked     []int32
	assignments int
	closing     bool
}

// Assign adds partitions.
func (o *Ownership) Assign(partitions []int32) {
	o.lock.Lock()
	defer o.lock.Unlock()
	o.owned = append(o.owned, partitions...)
	slices.Sort(o.owned)
	o.assignments++
}

// Revoke takes partitions away.
func (o *Ownership) Revoke(partitions []int32) {
	o.lock.Lock()
	defer o.lock.Unlock()
	gone := func(partition int32) bool { return slices.Contains(partitions, partition) }
	o.owned = slices.DeleteFunc(slices.Clone(o.owned), gone)
	if !o.closing {
		o.revoked = append(o.revoked, partitions...)
		slices.Sort(o.revoked)
	}
}

// End says that what is revoked from now on is the member's own wish; true the first time.
func (o *Ownership) End() bool {
	o.lock.Lock()
	defer o.lock.Unlock()
	first := !o.closing
	o.closing = true
	return first
}

// Owned are the partitions now, sorted.
func (o *Ownership) Owned() []int32 {
	o.lock.Lock()
	defer o.lock.Unlock()
	return slices.Clone(o.owned)
}

// Revoked are all that were ever taken away, sorted.
func (o *Ownership) Revoked() []int32 {
	o.lock.Lock()
	defer o.lock.Unlock()
	return slices.Clone(o.revoked)
}

// Assignments counts the calls of Assign.
func (o *Ownership) Assignments() int {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.assignments
}
