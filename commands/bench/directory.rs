//! A new directory for the files of one run, on the disk that is to be measured. Whatever is in it
//! goes with it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rivvend::storage::platform::filesystem_kind;

/// A directory that is removed when this is dropped, unless it is to be kept.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Directory {
    /// Creates one under `parent`, and warns when that is no disk.
    pub(super) fn create(parent: &Path, keep: bool) -> anyhow::Result<Directory> {
        let name = format!("rivvend-bench-{}", std::process::id());
        let directory = Directory::named(parent, &name, keep)?;
        let kind = filesystem_kind(&directory.path)?;
        if kind.is_volatile() {
            let shown = directory.path.display();
            eprintln!("warning: {shown} is on {kind}: syncs are free there; --dir names another");
        }
        Ok(directory)
    }

    /// Creates one below this, for a part of the run.
    pub(super) fn part(&self, name: &str) -> anyhow::Result<Directory> {
        Directory::named(&self.path, name, self.keep)
    }

    fn named(parent: &Path, name: &str, keep: bool) -> anyhow::Result<Directory> {
        let parent = std::path::absolute(parent)?;
        let path = parent.join(name);
        // Not the parents: a misspelt --dir is an error, not a new place.
        std::fs::create_dir(&path).with_context(|| format!("can not create {}", path.display()))?;
        Ok(Directory { path, keep })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until nothing that was written so far is still on its way to the disk, so that the
    /// next measurement does not pay for the last.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        let folder = std::fs::File::open(&self.path)?;
        Ok(rustix::fs::syncfs(folder)?)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept {}", self.path.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("warning: can not remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_goes_with_its_content_unless_it_is_kept() {
        let parent = tempfile::tempdir().expect("a directory");
        for keep in [false, true] {
            let directory = Directory::create(parent.path(), keep).expect("created");
            let path = directory.path().to_owned();
            std::fs::write(path.join("file"), b"content").expect("written");
            assert!(
                Directory::create(parent.path(), keep).is_err(),
                "an existing one is not taken"
            );
            drop(directory);
            assert_eq!(path.exists(), keep);
        }
    }
}
