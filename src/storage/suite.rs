//! What every disk does alike, run on the real and on the simulated one.

use super::{Access, Disk, DiskFile, Operation};
use std::io::{ErrorKind, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// A behaviour, shown in a directory of its own.
type Behaviour = fn(&dyn Disk, &Path);

/// Runs every behaviour in a directory of its own below `root`.
pub(super) fn run(disk: &dyn Disk, root: &Path) {
    let behaviours: [(&str, Behaviour); 10] = [
        ("write", pieces_are_written_one_after_the_other),
        ("read", reading_stops_at_the_end_of_the_file),
        ("holes", bytes_nobody_wrote_are_zeros),
        ("truncate", cut_bytes_do_not_come_back),
        ("create", creating_needs_a_new_name_and_a_directory),
        ("open", opening_needs_a_file_and_keeps_to_its_access),
        ("rename", renaming_replaces_and_open_handles_follow),
        ("remove", a_removed_file_stays_readable_through_its_handle),
        ("directories", directories_are_listed_in_order_and_removed_whole),
        ("replace", small_files_are_replaced_and_bounded_when_read),
    ];
    for (name, behaviour) in behaviours {
        let directory = root.join(name);
        disk.create_dir_all(&directory).unwrap();
        behaviour(disk, &directory);
    }
    let space = disk.space(root).unwrap();
    assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes);
}

fn write(file: &dyn DiskFile, at: u64, bytes: &[u8]) {
    file.write_at(at, &mut [IoSlice::new(bytes)]).unwrap();
}

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize + 10];
    let read = file.read_at(0, &mut bytes).unwrap();
    bytes.truncate(read);
    bytes
}

fn pieces_are_written_one_after_the_other(disk: &dyn Disk, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    let mut pieces = [b"".as_slice(), b"one", b"", b"two", b""].map(IoSlice::new);
    file.write_at(0, &mut pieces).unwrap();
    write(&*file, 2, b"E");
    file.write_at(9_999, &mut []).unwrap();
    file.write_at(9_999, &mut [IoSlice::new(b"")]).unwrap();
    assert_eq!(content(&*file), b"onEtwo");
    file.sync().unwrap();
    assert_eq!(content(&*file), b"onEtwo");
    let large: Vec<u8> = (0..10_000_u32).map(|at| at as u8).collect();
    write(&*file, 4_090, &large);
    assert_eq!(content(&*file)[4_090..], large);
    let error = file.write_at(u64::MAX - 1, &mut [IoSlice::new(b"far")]).unwrap_err();
    assert_eq!(error.operation, Operation::Write);
}

fn reading_stops_at_the_end_of_the_file(disk: &dyn Disk, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    assert!(file.is_empty().unwrap());
    write(&*file, 0, b"content");
    let mut into = [b'.'; 6];
    assert_eq!(file.read_at(3, &mut into).unwrap(), 4);
    assert_eq!(&into, b"tent..");
    assert_eq!(file.read_at(7, &mut into).unwrap(), 0);
    assert_eq!(file.read_at(1 << 40, &mut into).unwrap(), 0);
    assert_eq!(file.read_at(0, &mut []).unwrap(), 0);
    assert!(file.is_cached(0, 7) && file.is_cached(0, 0));
}

fn bytes_nobody_wrote_are_zeros(disk: &dyn Disk, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    write(&*file, 20_000, b"x");
    assert_eq!(file.len().unwrap(), 20_001);
    assert!(content(&*file)[..20_000].iter().all(|&byte| byte == 0));
    file.sync().unwrap();
    file.drop_cached(0, 20_001);
    assert_eq!(content(&*file)[20_000], b'x');
}

fn cut_bytes_do_not_come_back(disk: &dyn Disk, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    write(&*file, 0, &[7; 10_000]);
    file.sync().unwrap();
    file.truncate(5_000).unwrap();
    assert_eq!(file.len().unwrap(), 5_000);
    file.truncate(9_000).unwrap();
    let bytes = content(&*file);
    assert!(bytes[..5_000].iter().all(|&byte| byte == 7));
    assert!(bytes[5_000..].iter().all(|&byte| byte == 0));
    assert_eq!(bytes.len(), 9_000);
    file.truncate(0).unwrap();
    assert!(file.is_empty().unwrap());
}

fn creating_needs_a_new_name_and_a_directory(disk: &dyn Disk, root: &Path) {
    let path = root.join("file");
    disk.create(&path).unwrap();
    let error = disk.create(&path).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::AlreadyExists);
    assert_eq!((error.operation, &error.path), (Operation::Open, &path));
    assert!(disk.create(&root.join("missing/file")).unwrap_err().is_not_found());
    let error = disk.create(&path.join("below")).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::NotADirectory);
    assert!(disk.exists(&path).unwrap() && !disk.exists(&root.join("other")).unwrap());
    assert!(!disk.exists(&path.join("below")).unwrap_or(false));
}

fn opening_needs_a_file_and_keeps_to_its_access(disk: &dyn Disk, root: &Path) {
    let path = root.join("file");
    assert!(disk.open(&path, Access::Write).unwrap_err().is_not_found());
    write(&*disk.create(&path).unwrap(), 0, b"content");
    let reader = disk.open(&path, Access::Read).unwrap();
    let error = reader.write_at(0, &mut [IoSlice::new(b"x")]).unwrap_err();
    assert!(!error.is_full() && error.operation == Operation::Write);
    assert!(reader.truncate(0).is_err());
    write(&*disk.open(&path, Access::Write).unwrap(), 0, b"C");
    assert_eq!(content(&*reader), b"Content");
    let error = disk.open(root, Access::Write).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::IsADirectory);
}

fn renaming_replaces_and_open_handles_follow(disk: &dyn Disk, root: &Path) {
    let (from, to) = (root.join("from"), root.join("to"));
    let old = disk.create(&to).unwrap();
    write(&*old, 0, b"old");
    let new = disk.create(&from).unwrap();
    write(&*new, 0, b"new");
    disk.rename(&from, &to).unwrap();
    disk.sync_dir(root).unwrap();
    assert!(!disk.exists(&from).unwrap());
    assert_eq!(disk.read_small(&to, 10).unwrap(), b"new");
    assert_eq!(content(&*old), b"old", "whoever has it open keeps it");
    assert!(disk.rename(&from, &to).unwrap_err().is_not_found());

    let (one, other) = (root.join("one"), root.join("other/below"));
    disk.create_dir_all(&one).unwrap();
    disk.create_dir_all(other.parent().unwrap()).unwrap();
    disk.create(&one.join("file")).unwrap();
    disk.rename(&one, &other).unwrap();
    assert!(disk.exists(&other.join("file")).unwrap() && !disk.exists(&one).unwrap());
    assert!(disk.rename(&to, &other).is_err(), "a directory is not replaced by a file");
}

fn a_removed_file_stays_readable_through_its_handle(disk: &dyn Disk, root: &Path) {
    let path = root.join("file");
    let file = disk.create(&path).unwrap();
    write(&*file, 0, b"content");
    disk.remove(&path).unwrap();
    disk.sync_dir(root).unwrap();
    assert!(disk.remove(&path).unwrap_err().is_not_found());
    assert_eq!(content(&*file), b"content");
    write(&*file, 7, b"!");
    file.sync().unwrap();
    let again: Arc<dyn DiskFile> = disk.create(&path).unwrap();
    assert!(again.is_empty().unwrap(), "a new file of the old name");
    assert!(disk.remove(root).is_err(), "a directory is no file");
}

fn directories_are_listed_in_order_and_removed_whole(disk: &dyn Disk, root: &Path) {
    let top = root.join("top");
    disk.create_dir_all(&top.join("b/deep")).unwrap();
    disk.create_dir_all(&top.join("b/deep")).unwrap();
    write(&*disk.create(&top.join("c")).unwrap(), 0, b"123");
    disk.create(&top.join("a")).unwrap();
    let listed: Vec<(String, u64, bool)> =
        disk.list(&top).unwrap().into_iter().map(|e| (e.name, e.len, e.is_dir)).collect();
    let expected =
        [("a".to_owned(), 0, false), ("b".to_owned(), 0, true), ("c".to_owned(), 3, false)];
    assert_eq!(listed, expected);
    assert!(disk.create_dir_all(&top.join("c/below")).is_err());
    assert!(disk.list(&root.join("missing")).unwrap_err().is_not_found());
    assert!(disk.sync_dir(&root.join("missing")).unwrap_err().is_not_found());
    disk.remove_dir_all(&top).unwrap();
    assert!(!disk.exists(&top).unwrap());
    assert!(disk.remove_dir_all(&top).unwrap_err().is_not_found());
}

fn small_files_are_replaced_and_bounded_when_read(disk: &dyn Disk, root: &Path) {
    let path = root.join("file");
    disk.replace(&path, b"first").unwrap();
    // What a crash in the middle of a replacement leaves behind.
    disk.create(&root.join("file.tmp")).unwrap();
    disk.replace(&path, b"second").unwrap();
    assert_eq!(disk.read_small(&path, 6).unwrap(), b"second");
    let error = disk.read_small(&path, 5).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::InvalidData);
    assert_eq!(disk.list(root).unwrap().len(), 1);
}
