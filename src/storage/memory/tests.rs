use super::*;
use crate::storage::suite;

#[test]
fn behaves_as_every_disk_does() {
    suite::run(&MemoryDisk::new(), Path::new("/data"));
}
