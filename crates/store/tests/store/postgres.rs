//! A real PostgreSQL server for the tests: `initdb` into a temporary directory, a Unix socket in it, no TCP.
//!
//! The server runs under a shell that waits for its standard input to end, and then kills the server. So no
//! server is left behind, whether the guard is dropped, a test panics, or the test process is killed.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// PostgreSQL refuses to run as root; root's tests run it as this user.
const UNPRIVILEGED: &[&str] = &["postgres", "nobody"];

/// A running server; killed on drop.
pub(crate) struct Server {
    child: Child,
    directory: tempfile::TempDir,
}

impl Server {
    /// The server that running tests share; `None` (and a line on standard error) without PostgreSQL.
    pub(crate) fn shared(test: &str) -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let Some(programs) = programs() else {
            // Not `eprintln!`: the test harness would keep that to itself.
            let line = format!("SKIPPED: {test}: no initdb and postgres in PATH or /usr/lib/postgresql/*/bin\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        };
        let server = Arc::new(Self::start(&programs));
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// Address of a database on this server.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.directory.path().display())
    }

    fn start(programs: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("fl-pg-").tempdir_in("/tmp").unwrap();
        let data = directory.path().join("data");
        let user = unprivileged(directory.path());
        let mut initdb = as_user(user, &programs.join("initdb"));
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"]);
        let made = initdb.arg(&data).current_dir("/").output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut shell = as_user(user, Path::new("/bin/sh"));
        // QUIT is PostgreSQL's immediate shutdown.
        shell.args(["-c", r#""$@" & server=$!; read -r _; kill -QUIT $server; wait $server"#, "sh"]);
        shell.arg(programs.join("postgres")).arg("-D").arg(&data).arg("-k").arg(directory.path());
        shell.args(["-c", "listen_addresses=", "-c", "max_connections=200"]);
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).current_dir("/");
        let server = Self { child: shell.spawn().unwrap(), directory };
        server.wait();
        server
    }

    fn wait(&self) {
        let socket = self.directory.path().join(".s.PGSQL.5432");
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let log = || std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "postgres did not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn programs() -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = installed.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let complete = |bin: &PathBuf| bin.join("initdb").is_file() && bin.join("postgres").is_file();
    installed.chain(std::env::split_paths(&path)).find(complete)
}

/// The user and group to become, when this is root; the directory is theirs then.
fn unprivileged(directory: &Path) -> Option<(u32, u32)> {
    if std::fs::metadata(directory).unwrap().uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let id = |name: &&str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let (user, group) = UNPRIVILEGED.iter().find_map(id).expect("a user to run postgres as");
    std::os::unix::fs::chown(directory, Some(user), Some(group)).unwrap();
    Some((user, group))
}

fn as_user(user: Option<(u32, u32)>, program: &Path) -> Command {
    let Some((user, group)) = user else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).args(["--clear-groups", "--"]).arg(program);
    command
}
