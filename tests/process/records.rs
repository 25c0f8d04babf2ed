//! What `produce` makes of its input and `consume` of records: formats, flags, offsets.

use super::broker::Setup;
use super::command::Place;

fn embedded(directory: &tempfile::TempDir) -> Place {
    Place::embedded(&directory.path().join("data"))
}

fn new_directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn input_is_cut_as_its_format_says_and_every_flag_does_its_part() {
    let directory = new_directory();
    let there = embedded(&directory);
    let file = directory.path().join("input");
    std::fs::write(&file, "abcdefg").expect("written");
    let file = file.to_str().expect("UTF-8");
    let chunks = format!("--chunk 3 --file {file}");
    let dated = "-f %p;%T;%h;%v\\n";
    let shown = "%p|%k{json}|%v{json}|%h\\n";
    // Flags, input, and what consuming by `shown` gives.
    let cases: [(&str, &str, &str); 14] = [
        ("", "a\n\nb", "0|null|\"a\"|\n0|null|\"\"|\n0|null|\"b\"|\n"),
        ("--skip-empty", "a\n\nb", "0|null|\"a\"|\n0|null|\"b\"|\n"),
        ("--tombstone -k k", "a\n\n", "0|\"k\"|\"a\"|\n0|\"k\"|null|\n"),
        ("-k key -H a:1 -H b:x:y", "v", "0|\"key\"|\"v\"|a=1,b=x:y\n"),
        ("-f %k\\t%v\\n", "k\tv\tw\n", "0|\"k\"|\"v\\tw\"|\n"),
        ("-f %K{4}%V{4}%k%v", "\0\0\0\u{2}\0\0\0\u{3}k\nv\n\t", "0|\"k\\n\"|\"v\\n\\t\"|\n"),
        ("-f %K{1}%k%V{1}%v", "\u{1}k\0", "0|\"k\"|\"\"|\n"),
        ("-f %k{hex}:%v{base64}\\n", "6b:dg==\n", "0|\"k\"|\"v\"|\n"),
        (dated, "0;1700000000000;n=1;v\n", "0|null|\"v\"|n=1\n"),
        (&chunks, "", "0|null|\"abc\"|\n0|null|\"def\"|\n0|null|\"g\"|\n"),
        ("--file -", "a\n", "0|null|\"a\"|\n"),
        ("-z zstd --acks 1", "a\n", "0|null|\"a\"|\n"),
        ("-z gzip --acks all --delivery-timeout 9s", "a\n", "0|null|\"a\"|\n"),
        ("-z lz4 -p 0 --partitioner-batch-size 1KiB", "a\n", "0|null|\"a\"|\n"),
    ];
    for (number, (flags, input, expected)) in cases.into_iter().enumerate() {
        // Old time stamps are otherwise over before they are read.
        there.done(&format!("topic create case{number} -c retention.ms=-1"), "");
        there.done(&format!("produce case{number} {flags}"), input);
        let consumed = there.done(&format!("consume case{number} -f {shown}"), "");
        assert_eq!(consumed, expected, "{flags}");
    }
    assert_eq!(there.done("consume case8 -f %T{rfc3339}", ""), "2023-11-14T22:13:20.000Z");
    let wrong = there.run("produce case4 -f %k\\t%v\\n", "k\tv\nno tab\n");
    assert_eq!(wrong.exit, 6, "{wrong:?}");
    assert!(wrong.err.contains("record 2") && wrong.err.contains("written before that: 1"));
}

#[test]
fn offsets_partitions_and_topics_choose_what_is_consumed() {
    let directory = new_directory();
    let there = embedded(&directory);
    // Time stamps of 1970 are otherwise over before they are read.
    there.done("topic create left -p 2 -c retention.ms=-1", "");
    let ten: String = (0..10).map(|number| format!("1;{};{number}\n", 1000 + number)).collect();
    there.done("produce left -f %p;%T;%v\\n", &ten);
    there.done("produce lefty", "x\n");
    there.done("produce right", "y\n");
    let cases: [(&str, &str); 18] = [
        ("left", "0123456789"),
        ("left -o start", "0123456789"),
        ("left -o end", ""),
        ("left -o +7", "789"),
        ("left -o -3", "789"),
        ("left -o 8", "89"),
        ("left -o 3:6", "345"),
        ("left -o :2", "01"),
        ("left -o 8:end", "89"),
        ("left -o @1006", "6789"),
        ("left -o @1002:@1004", "23"),
        ("left -o @-1h", ""),
        ("left -n 4", "0123"),
        ("left -o 6 -n 2", "67"),
        ("left -p 0", ""),
        ("left -p 0,1 -o -1", "9"),
        ("left left", "0123456789"),
        ("-r left. -o start", "x"),
    ];
    for (what, expected) in cases {
        assert_eq!(there.done(&format!("consume {what} -f %v"), ""), expected, "{what}");
    }
    let mut both: Vec<char> = there.done("consume right lefty -f %v", "").chars().collect();
    both.sort_unstable();
    assert_eq!(both, ['x', 'y']);
    assert_eq!(there.run("consume -r nothing", "").exit, 3);
    assert_eq!(there.run("consume left -p 2", "").exit, 3);
}

/// An append that expects an offset is made there or not at all.
#[test]
fn an_expected_offset_is_kept_by_every_batch_or_nothing_is_written() {
    let directory = new_directory();
    let broker = Setup::new(directory.path().join("data")).start();
    let there = Place::wire(&broker);
    there.done("topic create ledger -p 2", "");
    // Three batches and more.
    let line = "x".repeat(99) + "\n";
    let large = line.repeat(40_000);
    let write = "produce ledger -p 1 --output json --expect-offset";
    let told = there.done(&format!("{write} 0"), &large);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["partitions"][0]["first_offset"], 0);
    assert_eq!(told["partitions"][0]["last_offset"], 39_999);
    let batches = there.done("consume ledger -p 1 -o 39999 -f %o", "");
    assert_eq!(batches, "39999");
    for wrong in [0, 39_999, 40_001] {
        let refused = there.run(&format!("{write} {wrong}"), &large);
        assert_eq!(refused.exit, 1, "{refused:?}");
        assert!(refused.err.contains("try again with --expect-offset 40000"), "{refused:?}");
        assert!(refused.err.contains("not acknowledged: "), "{refused:?}");
    }
    let ends = there.done("topic offsets ledger -o jsonl", "");
    assert!(ends.contains("\"end\":40000") && ends.contains("\"end\":0"), "{ends}");
    there.done(&format!("{write} 40000"), "last\n");
    for senseless in [
        "produce ledger --expect-offset 0",
        "produce ledger -p 1 --expect-offset 0 --acks 0",
        "produce ledger --expect-offset 0 -f %p:%v\\n",
        "produce ledger -p 1 --expect-offset -1",
    ] {
        assert_eq!(there.run(senseless, "x").exit, 2, "{senseless}");
    }
}

/// A topic may have a codec and a clock of its own; what is stored then is not what came.
#[test]
fn a_topics_own_codec_and_clock_are_what_its_batches_have() {
    let directory = new_directory();
    let there = embedded(&directory);
    let old = "1700000000000;";
    let all = [("uncompressed", "none"), ("gzip", "gzip"), ("snappy", "snappy"), ("zstd", "zstd")];
    for (setting, codec) in all {
        let topic = format!("t-{setting}");
        let clock = "message.timestamp.type=LogAppendTime";
        there.done(&format!("topic create {topic} -c compression.type={setting} -c {clock}"), "");
        there.done(&format!("produce {topic} -z lz4 -f %T;%v\\n"), &format!("{old}a\n{old}b\n"));
        assert_eq!(there.done(&format!("consume {topic} -f %v"), ""), "ab", "{setting}");
        let times = there.done(&format!("consume {topic} -f %T;"), "");
        let now = super::load::now().0;
        for time in times.split_terminator(';') {
            let time: i64 = time.parse().expect("a time");
            assert!((now - 60_000..=now).contains(&time), "{time} is not the broker's, {now}");
        }
        let described = there.done(&format!("topic describe {topic} -o json"), "");
        let described: serde_json::Value = serde_json::from_str(&described).expect("JSON");
        let id = described[0]["id"].as_str().expect("an id");
        let log = directory.path().join(format!("data/topics/{id}/0/00000000000000000000.log"));
        let shown =
            super::command::words(&format!("inspect batch {} --output json", log.display()));
        let shown: serde_json::Value =
            serde_json::from_str(&super::command::finish(shown, "").out).expect("JSON");
        assert_eq!(shown[0]["compression"], codec, "{shown}");
        assert_eq!(shown[0]["timestamp_type"], "append", "{shown}");
    }
}
