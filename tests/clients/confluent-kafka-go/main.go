// The adapter of confluent-kafka-go, which wraps librdkafka, for the cases of tests/clients/lib/go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"rivvend.tests/suite"
)

// For the calls that want a number of milliseconds.
const patienceMs = 20_000

func main() { suite.Main(confluent{}) }

type confluent struct{}

func (confluent) Code(err error) int {
	var known kafka.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &known):
		return int(known.Code())
	}
	return -1
}

// settings of a client, with `pairs` of name and value.
func settings(pairs ...any) *kafka.ConfigMap {
	all := kafka.ConfigMap{"bootstrap.servers": suite.Bootstrap()}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i].(string)] = pairs[i+1]
	}
	return &all
}

// producer keeps the call-back of each record as the record's opaque value.
type producer struct {
	client *kafka.Producer
	// What was sent to all brokers so far, and how often librdkafka has told it.
	bytes, reports atomic.Int64
}

func (confluent) Producer(wanted suite.ProducerSettings) suite.Producer {
	all := settings("statistics.interval.ms", 100, "enable.idempotence", wanted.Acks == "")
	if wanted.Acks != "" {
		suite.Ok(all.SetKey("acks", wanted.Acks))
	}
	if wanted.Codec != "" {
		suite.Ok(all.SetKey("compression.codec", wanted.Codec))
	}
	if wanted.MaxBytes > 0 {
		suite.Ok(all.SetKey("message.max.bytes", wanted.MaxBytes))
	}
	if wanted.SmallBatches {
		suite.Ok(all.SetKey("batch.num.messages", 10))
	}
	made := &producer{client: suite.Must(kafka.NewProducer(all))}
	go made.reportEvents()
	return made
}

func (p *producer) reportEvents() {
	for event := range p.client.Events() {
		switch event := event.(type) {
		case *kafka.Message:
			done := event.Opaque.(func(int64, error))
			done(int64(event.TopicPartition.Offset), event.TopicPartition.Error)
		case *kafka.Stats:
			p.count(event.String())
		}
	}
}

func (p *producer) count(report string) {
	var told struct {
		Brokers map[string]struct{ Txbytes int64 }
	}
	suite.Ok(json.Unmarshal([]byte(report), &told))
	var sum int64
	for _, broker := range told.Brokers {
		sum += broker.Txbytes
	}
	p.bytes.Store(sum)
	p.reports.Add(1)
}

func (p *producer) Send(topic string, record suite.Record, done func(int64, error)) {
	sent := &kafka.Message{Key: record.Key, Value: record.Value, Opaque: done,
		TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: record.Partition}}
	if record.TimestampMs != 0 {
		sent.Timestamp = time.UnixMilli(record.TimestampMs)
	}
	for _, header := range record.Headers {
		sent.Headers = append(sent.Headers, kafka.Header{Key: header.Name, Value: header.Value})
	}
	for {
		err := p.client.Produce(sent, nil)
		var refused kafka.Error
		if errors.As(err, &refused) && refused.Code() == kafka.ErrQueueFull {
			p.client.Flush(100)
			continue
		}
		suite.Ok(err)
		return
	}
}

// SentBytes waits for the second report from now, which tells all that was sent before.
func (p *producer) SentBytes() int64 {
	before := p.reports.Load()
	suite.Await("statistics", func() bool { return p.reports.Load() >= before+2 })
	return p.bytes.Load()
}

func (p *producer) Flush() { p.client.Flush(patienceMs) }
func (p *producer) Close() { p.client.Close() }

type reader struct {
	client *kafka.Consumer
	topic  string
}

func consumer(pairs ...any) *kafka.Consumer {
	return suite.Must(kafka.NewConsumer(settings(append(pairs, "auto.offset.reset", "earliest")...)))
}

func (confluent) Reader(topic string, count int32, wanted suite.ReaderSettings) suite.Reader {
	// librdkafka wants a group's name even where no group is used.
	pairs := []any{"group.id", "unused", "enable.auto.commit", false}
	if wanted.MaxWait > 0 {
		pairs = append(pairs, "fetch.wait.max.ms", int(wanted.MaxWait.Milliseconds()))
	}
	made := &reader{consumer(pairs...), topic}
	var partitions []kafka.TopicPartition
	for partition := range count {
		partitions = append(partitions, at(topic, partition, int64(kafka.OffsetBeginning)))
	}
	suite.Ok(made.client.Assign(partitions))
	return made
}

func at(topic string, partition int32, offset int64) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: &topic, Partition: partition, Offset: kafka.Offset(offset)}
}

func (r *reader) Read(wait time.Duration) []suite.Record {
	var records []suite.Record
	for {
		message, isMessage := r.client.Poll(int(wait.Milliseconds())).(*kafka.Message)
		if !isMessage {
			return records
		}
		suite.Ok(message.TopicPartition.Error)
		records = append(records, taken(message))
		wait = 0
	}
}

func taken(message *kafka.Message) suite.Record {
	record := suite.Record{Partition: message.TopicPartition.Partition, Key: message.Key,
		Value: message.Value, Offset: int64(message.TopicPartition.Offset),
		TimestampMs: message.Timestamp.UnixMilli()}
	for _, header := range message.Headers {
		record.Headers = append(record.Headers,
			suite.Header{Name: header.Key, Value: header.Value})
	}
	return record
}

func (r *reader) Seek(partition int32, offset int64) {
	to := []kafka.TopicPartition{at(r.topic, partition, offset)}
	for _, result := range suite.Must(r.client.SeekPartitions(to)) {
		suite.Ok(result.Error)
	}
}

func (r *reader) Close() { suite.Ok(r.client.Close()) }

type member struct {
	suite.Ownership
	client *kafka.Consumer
	stop   chan struct{}
	ended  chan struct{}
}

func (confluent) Member(group, topic string, read *suite.Read,
	wanted suite.MemberSettings) suite.Member {
	made := &member{stop: make(chan struct{}), ended: make(chan struct{})}
	pairs := []any{"group.id", group, "heartbeat.interval.ms", 500, "session.timeout.ms", 6000}
	if wanted.Cooperative {
		pairs = append(pairs, "partition.assignment.strategy", "cooperative-sticky")
	}
	if wanted.Instance != "" {
		pairs = append(pairs, "group.instance.id", wanted.Instance, "session.timeout.ms", 30_000)
	}
	made.client = consumer(pairs...)
	suite.Ok(made.client.SubscribeTopics([]string{topic}, made.rebalanced))
	go made.poll(read)
	return made
}

func (m *member) rebalanced(_ *kafka.Consumer, event kafka.Event) error {
	switch event := event.(type) {
	case kafka.AssignedPartitions:
		m.Assign(numbers(event.Partitions))
	case kafka.RevokedPartitions:
		m.Revoke(numbers(event.Partitions))
	}
	return nil
}

func numbers(partitions []kafka.TopicPartition) []int32 {
	var all []int32
	for _, partition := range partitions {
		all = append(all, partition.Partition)
	}
	return all
}

func (m *member) poll(read *suite.Read) {
	defer close(m.ended)
	for {
		select {
		case <-m.stop:
			return
		default:
		}
		message, isMessage := m.client.Poll(100).(*kafka.Message)
		if isMessage && message.TopicPartition.Error == nil {
			read.Add(message.Value)
		}
	}
}

func (m *member) Close() {
	if m.End() {
		close(m.stop)
		<-m.ended
		suite.Ok(m.client.Close())
	}
}

type admin struct{ client *kafka.AdminClient }

func (confluent) Admin() suite.Admin {
	return admin{suite.Must(kafka.NewAdminClient(settings()))}
}

// limit is that of a case: librdkafka ends its requests by time-outs of its own.
func limit() context.Context { return context.Background() }

// failed is the error of a result, if it is one.
func failed(result kafka.Error) error {
	if result.Code() == kafka.ErrNoError {
		return nil
	}
	return result
}

func (a admin) CreateTopic(name string, partitions int, configs map[string]string) error {
	topics := []kafka.TopicSpecification{
		{Topic: name, NumPartitions: partitions, ReplicationFactor: -1, Config: configs}}
	return failed(suite.Must(a.client.CreateTopics(limit(), topics))[0].Error)
}

func (a admin) DeleteTopic(name string) {
	suite.Ok(failed(suite.Must(a.client.DeleteTopics(limit(), []string{name}))[0].Error))
}

func (a admin) Topics() []string {
	var names []string
	for name := range suite.Must(a.client.GetMetadata(nil, true, patienceMs)).Topics {
		names = append(names, name)
	}
	return names
}

func (a admin) Partitions(topic string) int {
	all := suite.Must(a.client.GetMetadata(nil, true, patienceMs))
	return len(all.Topics[topic].Partitions)
}

func (a admin) Configs(topic string) map[string]string {
	wanted := []kafka.ConfigResource{{Type: kafka.ResourceTopic, Name: topic}}
	result := suite.Must(a.client.DescribeConfigs(limit(), wanted))[0]
	suite.Ok(failed(result.Error))
	values := map[string]string{}
	for name, entry := range result.Config {
		values[name] = entry.Value
	}
	return values
}

func (a admin) SetConfig(topic, key, value string) error {
	change := kafka.ConfigResource{Type: kafka.ResourceTopic, Name: topic,
		Config: []kafka.ConfigEntry{
			{Name: key, Value: value, IncrementalOperation: kafka.AlterConfigOpTypeSet}}}
	changes := []kafka.ConfigResource{change}
	return failed(suite.Must(a.client.IncrementalAlterConfigs(limit(), changes))[0].Error)
}

func (a admin) AddPartitions(topic string, total int) error {
	wanted := []kafka.PartitionsSpecification{{Topic: topic, IncreaseTo: total}}
	return failed(suite.Must(a.client.CreatePartitions(limit(), wanted))[0].Error)
}

func (a admin) DeleteRecords(topic string, partition int32, before int64) int64 {
	wanted := []kafka.TopicPartition{at(topic, partition, before)}
	result := suite.Must(a.client.DeleteRecords(limit(), wanted)).DeleteRecordsResults[0]
	suite.Ok(result.TopicPartition.Error)
	return int64(result.DeletedRecords.LowWatermark)
}

func (a admin) Offset(topic string, partition int32, when int64) int64 {
	wanted := kafka.TopicPartition{Topic: &topic, Partition: partition}
	asked := map[kafka.TopicPartition]kafka.OffsetSpec{wanted: kafka.OffsetSpec(when)}
	for _, result := range suite.Must(a.client.ListOffsets(limit(), asked)).ResultInfos {
		suite.Ok(failed(result.Error))
		return int64(result.Offset)
	}
	return -1
}

func (a admin) Groups() []string {
	var names []string
	for _, group := range suite.Must(a.client.ListConsumerGroups(limit())).Valid {
		names = append(names, group.GroupID)
	}
	return names
}

func (a admin) Group(group string) (string, int) {
	all := suite.Must(a.client.DescribeConsumerGroups(limit(), []string{group}))
	described := all.ConsumerGroupDescriptions[0]
	suite.Ok(failed(described.Error))
	return strings.ToLower(described.State.String()), len(described.Members)
}

func (a admin) DeleteGroup(group string) {
	all := suite.Must(a.client.DeleteConsumerGroups(limit(), []string{group}))
	suite.Ok(failed(all.ConsumerGroupResults[0].Error))
}

// Commit and Committed are calls of the consumer, which commits without being a member.
func (a admin) Commit(group, topic string, partition int32, offset int64, metadata string) {
	consumer := consumer("group.id", group)
	wanted := at(topic, partition, offset)
	wanted.Metadata = &metadata
	for _, result := range suite.Must(consumer.CommitOffsets([]kafka.TopicPartition{wanted})) {
		suite.Ok(result.Error)
	}
	suite.Ok(consumer.Close())
}

func (a admin) Committed(group, topic string, partition int32) (int64, string) {
	consumer := consumer("group.id", group)
	wanted := []kafka.TopicPartition{at(topic, partition, int64(kafka.OffsetInvalid))}
	found := suite.Must(consumer.Committed(wanted, patienceMs))[0]
	suite.Ok(consumer.Close())
	suite.Ok(found.Error)
	if found.Offset == kafka.OffsetInvalid {
		return -1, ""
	}
	if found.Metadata == nil {
		return int64(found.Offset), ""
	}
	return int64(found.Offset), *found.Metadata
}

func (a admin) Close() { a.client.Close() }
