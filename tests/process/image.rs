//! File systems of our own in image files: full, cut off from power or cloned at will. Mounts and
//! loop devices go away when the value does, also when a test panics.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::has_root_and;

/// What has to be installed for everything here.
const TOOLS: &[&str] =
    &["mkfs.ext4", "mkfs.xfs", "xfs_io", "e2fsck", "mount", "umount", "fsfreeze", "cp"];
pub(super) const EXT4: &[&str] = &["mkfs.ext4", "-q", "-F"];
pub(super) const XFS: &[&str] = &["mkfs.xfs", "-q", "-m", "reflink=1"];

/// Runs a tool that must succeed.
pub(super) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("the tool is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
}

/// A disk of our own: an image file with a file system in it, and folders to mount on.
#[derive(Debug)]
pub(super) struct TestDisk {
    directory: tempfile::TempDir,
    pub(super) image: PathBuf,
}

impl TestDisk {
    /// `None`, for a reason that is printed, where there can be none.
    pub(super) fn new(bytes: u64, mkfs: &[&str]) -> Option<TestDisk> {
        if !has_root_and(TOOLS) {
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let image = directory.path().join("disk");
        format(&image, bytes, mkfs);
        Some(TestDisk { directory, image })
    }

    /// A folder beside the image that nobody else uses.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn mount(&self) -> Mount {
        Mount::new(&self.image, self.folder("mounted"))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of ours are text")
}

/// Makes an image file with a file system in it.
pub(super) fn format(image: &Path, bytes: u64, mkfs: &[&str]) {
    let file = std::fs::File::create(image).expect("made");
    file.set_len(bytes).expect("sparse");
    run(mkfs[0], &[&mkfs[1..], &[text(image)]].concat());
}

/// An image that is mounted for as long as this lives.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) folder: PathBuf,
    is_mounted: bool,
}

impl Mount {
    /// Mounts an image on a folder, which is made. The loop device frees itself.
    pub(super) fn new(image: &Path, folder: PathBuf) -> Mount {
        std::fs::create_dir_all(&folder).expect("made");
        run("mount", &["-o", "loop", text(image), text(&folder)]);
        Mount { folder, is_mounted: true }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The power goes: what is not on the disk by now never will be. The log is not flushed.
    pub(super) fn cut_power(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", text(&self.folder)]);
    }

    /// The file system finds an error and goes read-only, as the kernel does by itself.
    pub(super) fn go_read_only(&self) {
        run("mount", &["-o", "remount,abort", text(&self.folder)]);
    }

    /// Lets everything that would be written to it wait, until the value is dropped.
    pub(super) fn freeze(&self) -> Frozen<'_> {
        run("fsfreeze", &["--freeze", text(&self.folder)]);
        Frozen(self)
    }

    /// A mount of another kind.
    pub(super) fn special(kind: &str, options: &str, folder: PathBuf) -> Mount {
        std::fs::create_dir_all(&folder).expect("made");
        run("mount", &["-t", kind, "-o", options, kind, text(&folder)]);
        Mount { folder, is_mounted: true }
    }

    pub(super) fn unmount(mut self) {
        self.is_mounted = false;
        run("umount", &[text(&self.folder)]);
    }
}

/// A file system to which nothing is written.
#[derive(Debug)]
pub(super) struct Frozen<'a>(&'a Mount);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        run("fsfreeze", &["--unfreeze", text(&self.0.folder)]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A process that was just killed may hold it for a moment; lazily it goes all the same.
        if self.is_mounted {
            let _ = Command::new("umount").args(["-l", text(&self.folder)]).status();
        }
    }
}
