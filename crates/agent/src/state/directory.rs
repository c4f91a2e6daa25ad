//! A directory of this machine with one file, replaced as a whole.
//!
//! Must not know: what is in the file.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use zeroize::Zeroizing;

use super::FILE;

/// The state directory.
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes the directory (0700) if it is not there.
    pub(super) fn open(directory: &Path) -> anyhow::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(|| {
            format!("cannot make the state directory {} (`state_dir`, FLOTILLA_AGENT__STATE_DIR)", directory.display())
        })?;
        Ok(Self { path: directory.to_owned() })
    }

    /// The file.
    pub(super) fn path(&self) -> PathBuf {
        self.path.join(FILE)
    }

    pub(super) fn read(&self) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
        let path = self.path();
        let text = match std::fs::read(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        close_to_others(&path)?;
        Ok(Some(text))
    }

    /// Written aside with 0600, synced, renamed.
    pub(super) fn write(&self, text: &[u8]) -> anyhow::Result<()> {
        let path = self.path();
        let aside = self.path.join(format!("{FILE}.{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            match std::fs::remove_file(&aside) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
            file.write_all(text)?;
            file.sync_all()?;
            std::fs::rename(&aside, &path)?;
            std::fs::File::open(&self.path)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A key that others could read is closed to them, and it is said that they could.
fn close_to_others(path: &Path) -> anyhow::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "others could read the agent's key; closing the file to them");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot close {} to others", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn directory_and_file_are_the_agents_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let directory = Directory::open(&path).unwrap();
        assert!(directory.read().unwrap().is_none());
        directory.write(b"one").unwrap();
        directory.write(b"two").unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&directory.path()), 0o600);
        let names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE], "nothing is left beside the file");
        assert_eq!(directory.read().unwrap().unwrap().as_slice(), b"two");
    }

    #[test]
    fn a_file_left_open_to_others_is_closed() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        directory.write(b"one").unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(directory.read().unwrap().is_some());
        assert_eq!(mode(&directory.path()), 0o600);
    }
}
