//! Files that others must never see half-written, and locks between processes.
//!
//! Must not know: what is in the files.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a lock that someone else holds is tried again.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Reads a text file; `None` when there is none.
///
/// # Errors
/// Anything but absence.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a directory that only its owner may enter. One that is there already keeps its mode: it may be
/// the user's `~/.config`.
fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Replaces a file as a whole: a reader meets the old text or the new, also after a crash. Without
/// `permissions` only the owner may read it (0600).
///
/// # Errors
/// From the file system.
pub(crate) fn replace(path: &Path, text: &str, permissions: Option<Permissions>) -> io::Result<()> {
    let directory = parent(path)?;
    private_directory(directory)?;
    // tempfile makes it with mode 0600, so there is no moment at which others could open it.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn parent(path: &Path) -> io::Result<&Path> {
    let parent = path.parent().ok_or_else(|| io::Error::other("the path names no file"))?;
    Ok(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

/// Takes an exclusive lock between processes, held until the returned file is dropped (also by a crash).
///
/// # Errors
/// When the lock file cannot be made, or someone else keeps the lock for longer than `patience`.
pub(crate) fn lock(path: &Path, patience: Duration) -> io::Result<File> {
    private_directory(parent(path)?)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    let until = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOCK_POLL),
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another process keeps its lock")),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// The lock by which kubectl guards a kubeconfig: a file beside it, there for as long as somebody writes
/// (client-go, `tools/clientcmd/config.go`, `lockFile`).
pub(crate) struct LockFile(PathBuf);

impl LockFile {
    /// Takes the lock.
    ///
    /// # Errors
    /// `AlreadyExists` when somebody holds it for longer than `patience`.
    pub(crate) fn take(path: &Path, patience: Duration) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let name = PathBuf::from(name);
        private_directory(parent(path)?)?;
        let until = Instant::now() + patience;
        loop {
            match OpenOptions::new().create_new(true).write(true).open(&name) {
                Ok(_) => return Ok(Self(name)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && Instant::now() < until => {
                    std::thread::sleep(LOCK_POLL);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Nothing to be done about a failure; the next writer's error names the file.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn new_files_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/secret");
        replace(&path, "x", None).unwrap();
        replace(&path, "y", None).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "y");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o777, 0o700);
        replace(&path, "z", Some(Permissions::from_mode(0o640))).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let names: Vec<_> = std::fs::read_dir(dir.path().join("a/b")).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file is left behind");
    }

    #[test]
    fn a_lock_is_held_until_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(&path, Duration::ZERO).unwrap();
        assert!(lock(&path, Duration::from_millis(50)).is_err());
        drop(held);
        assert!(lock(&path, Duration::ZERO).is_ok());
    }

    #[test]
    fn a_lock_file_is_removed_on_drop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let held = LockFile::take(&path, Duration::ZERO).unwrap();
        assert!(dir.path().join("config.lock").exists());
        let refused = LockFile::take(&path, Duration::from_millis(50)).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        drop(held);
        assert!(!dir.path().join("config.lock").exists());
    }

    #[test]
    fn absence_is_not_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_if_there(&dir.path().join("none")).unwrap(), None);
        assert!(read_if_there(dir.path()).is_err());
    }
}
