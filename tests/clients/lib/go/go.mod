module rivvend.tests/suite

go 1.24
