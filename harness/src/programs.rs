//! Where our own programs are.
//!
//! Must not know: how they are built; `cargo xtask` does that first.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The `flotilla` and `flotilla-agent` programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Hub and command line.
    pub flotilla: PathBuf,
    /// Agent.
    pub agent: PathBuf,
}

impl Programs {
    /// The programs in `folder`, for example `target/release`.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        let programs = Self { flotilla: folder.join("flotilla"), agent: folder.join("flotilla-agent") };
        for program in [&programs.flotilla, &programs.agent] {
            ensure!(program.is_file(), "{} is not built; run: cargo build --bins", program.display());
        }
        Ok(programs)
    }

    /// The programs beside the running test or tool, which cargo builds into the same folder.
    ///
    /// # Errors
    /// They are not there.
    pub fn beside_us() -> Result<Self> {
        let own = std::env::current_exe().context("the running program has no path")?;
        let folder = own.parent().filter(|folder| folder.ends_with("deps")).map_or(own.parent(), Path::parent);
        Self::in_folder(folder.context("the running program has no folder")?)
    }
}
