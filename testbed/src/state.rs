//! The folder in which one control plane keeps everything it makes.
//!
//! Its owner holds a lock for as long as it lives. Whoever makes a folder first removes those whose owner is gone
//! without having cleaned up (killed, or the machine lost power), mounts and network devices included.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{mounts, node, reserve};

/// Name of the lock file beside each folder.
const LOCK: &str = "lock";

/// A private folder, removed when dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    id: String,
    /// Held for as long as the folder is in use.
    _lock: File,
    keep: bool,
}

impl StateDir {
    /// Makes a folder of its own for `name`, after sweeping those of owners that are gone.
    ///
    /// # Errors
    /// The temporary folder cannot be written.
    pub fn create(name: &str) -> Result<Self> {
        let root = reserve::root()?.join("state");
        fs::create_dir_all(&root)?;
        // One at a time, so that no sweeper sees a folder between its creation and its lock.
        let gate = File::create(root.join(LOCK))?;
        gate.lock().context("lock the test beds' folder")?;
        sweep(&root);
        let id: String = std::iter::repeat_with(|| fastrand::char('a'..='z')).take(8).collect();
        let path = root.join(format!("{name}-{id}"));
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        let lock = File::create(path.join(LOCK))?;
        lock.lock()?;
        Ok(Self { path, id, _lock: lock, keep: false })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Eight random letters, the suffix of the folder's name: unique among the test beds of this machine.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Leaves the logs and everything else where they are, for looking at them; the next sweep removes them.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "state folder stays");
        }
    }
}

/// Removes the folders whose lock can be had: their owner is gone.
fn sweep(root: &Path) {
    let Ok(items) = fs::read_dir(root) else {
        return;
    };
    for path in items.filter_map(|item| Some(item.ok()?.path())).filter(|path| path.is_dir()) {
        // Created if it is not there: an owner ended between making the folder and its lock.
        let Ok(lock) = File::options().create(true).append(true).open(path.join(LOCK)) else {
            continue;
        };
        if lock.try_lock().is_err() {
            continue;
        }
        if let Err(error) = remove(&path) {
            tracing::warn!(path = %path.display(), %error, "left-over of an earlier run stays");
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.rsplit('-').next());
    node::clean_up(path, id.unwrap_or_default());
    mounts::unmount_below(path)?;
    fs::remove_dir_all(path).with_context(|| format!("remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_overs_are_swept_and_live_folders_are_not() {
        let root = reserve::root().unwrap().join("state");
        let live = StateDir::create("live").unwrap();
        let dead = root.join("dead-aaaaaaaa");
        fs::create_dir_all(dead.join("sub")).unwrap();
        let next = StateDir::create("next").unwrap();
        assert!(!dead.exists());
        assert!(live.path().exists());
        let path = next.path().to_path_buf();
        drop(next);
        assert!(!path.exists());
    }
}
