module rivvend.tests/confluent-kafka-go

go 1.24

require (
	github.com/confluentinc/confluent-kafka-go/v2 v2.11.1
	rivvend.tests/suite v0.0.0
)

replace rivvend.tests/suite => ../lib/go
