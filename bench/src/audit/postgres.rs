//! A real PostgreSQL server in a folder of its own, on a Unix socket.
//!
//! Must not know: what is kept in it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flotilla_testbed::{Process, Program};
use nix::unistd::{Uid, User};

/// How long it may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server; ended on drop.
pub(super) struct Postgres {
    // Fields are dropped in this order: the server before its folder.
    _server: Process,
    folder: tempfile::TempDir,
    bin: PathBuf,
}

impl Postgres {
    /// Makes a database cluster and starts a server on it. `place` is a folder for its log, and the leash.
    pub(super) fn start((logs, leash): (&Path, &Path)) -> Result<Self> {
        let bin = programs()?;
        // Socket paths are short (unix(7)), and the server's user must get there.
        let folder = tempfile::Builder::new().prefix("fl-pg-").tempdir_in("/tmp")?;
        let user = unprivileged()?;
        if let Some(user) = &user {
            chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        let data = folder.path().join("data");
        let words = as_user(user.as_ref(), &bin.join("initdb"));
        let (first, rest) = words.split_first().context("no command")?;
        let made = Command::new(first)
            .args(rest)
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(&data)
            .current_dir("/")
            .output()?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let words = as_user(user.as_ref(), &bin.join("postgres"));
        let (first, rest) = words.split_first().context("no command")?;
        let program =
            Program::new("postgres", first, logs).args(rest).arg("-D").arg(&data).arg("-k").arg(folder.path());
        let mut server = program.args(["-c", "listen_addresses="]).current_dir("/").start(leash)?;
        let socket = folder.path().join(".s.PGSQL.5432");
        let listens = || Ok(std::os::unix::net::UnixStream::connect(&socket).is_ok());
        server.wait_until("it listens", START_LIMIT, listens)?;
        Ok(Self { _server: server, folder, bin })
    }

    /// Makes a database; its address.
    pub(super) fn database(&self, name: &str) -> Result<String> {
        let mut command = Command::new(self.bin.join("createdb"));
        let made = command.args(["-U", "postgres", "-h"]).arg(self.folder.path()).arg(name).output()?;
        ensure!(made.status.success(), "createdb: {}", String::from_utf8_lossy(&made.stderr));
        Ok(format!("postgres://postgres@localhost/{name}?host={}", self.folder.path().display()))
    }
}

fn programs() -> Result<PathBuf> {
    let installed = fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is missing: apt-get install postgresql")?;
    let mut found = installed.flatten().map(|version| version.path().join("bin"));
    found.find(|bin| bin.join("initdb").is_file()).context("PostgreSQL is missing: apt-get install postgresql")
}

/// PostgreSQL refuses to run as root.
fn unprivileged() -> Result<Option<User>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres")?.or(User::from_name("nobody")?);
    Ok(Some(user.context("there is no user postgres to run the server as")?))
}

fn as_user(user: Option<&User>, program: &Path) -> Vec<std::ffi::OsString> {
    let Some(user) = user else { return vec![program.into()] };
    let setpriv = format!("setpriv --reuid={} --regid={} --clear-groups --", user.uid, user.gid);
    setpriv.split(' ').map(Into::into).chain([program.into()]).collect()
}
