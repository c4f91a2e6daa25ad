//! Programs that end when their owner ends.
//!
//! A program is not started directly but by a leash (`testbed/tools/leash`), which holds one end of a pipe. The other
//! end is here; the kernel closes it when this process ends, whatever ends it, and the leash then ends the program and
//! every process that descends from it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// How often something is looked at that cannot be waited for.
const POLL: Duration = Duration::from_millis(20);
/// How long the leash may need, beyond the grace, for killing and unmounting.
const LEASH_LIMIT: Duration = Duration::from_secs(25);
/// What of a log goes into an error.
const LOG_TAIL: u64 = 4_000;

/// What to run and how to end it.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    log: PathBuf,
    grace: Duration,
    cleanup_mounts: Option<PathBuf>,
    finally: Option<OsString>,
}

impl Program {
    /// A program whose standard output and error go to `<logs>/<name>.log`. The environment is inherited.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>, logs: &Path) -> Self {
        let name = name.into();
        Self {
            log: logs.join(format!("{name}.log")),
            name,
            path: path.into(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            grace: Duration::from_secs(5),
            cleanup_mounts: None,
            finally: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Time between SIGTERM and SIGKILL, 5 s unless told; with zero the program is killed at once.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Unmounts what is mounted below `dir` after the program has ended.
    #[must_use]
    pub fn cleanup_mounts(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cleanup_mounts = Some(dir.into());
        self
    }

    /// A shell command that is run at the very end, after a SIGKILL of the owner too.
    #[must_use]
    pub fn finally(mut self, command: impl Into<OsString>) -> Self {
        self.finally = Some(command.into());
        self
    }

    /// Starts the program on a leash.
    ///
    /// # Errors
    /// The leash or the program cannot be started.
    pub fn start(self, leash: &Path) -> Result<Process> {
        let pid_file = self.log.with_extension("pid");
        let _ = fs::remove_file(&pid_file);
        let mut child =
            self.command(leash, &pid_file)?.spawn().with_context(|| format!("start {}", leash.display()))?;
        let rope = child.stdin.take();
        let mut process = Process { pid: 0, leash: child, rope, status: None, program: self };
        process.pid = process.wait_for_pid(&pid_file)?;
        tracing::debug!(name = process.program.name, pid = process.pid, "started");
        Ok(process)
    }

    fn command(&self, leash: &Path, pid_file: &Path) -> Result<Command> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("open {}", self.log.display()))?;
        let mut command = Command::new(leash);
        command.arg("--grace").arg(format!("{}ms", self.grace.as_millis()));
        command.arg("--pid-file").arg(pid_file);
        if let Some(dir) = &self.cleanup_mounts {
            command.arg("--cleanup-mounts").arg(dir);
        }
        if let Some(finally) = &self.finally {
            command.arg("--finally").arg(finally);
        }
        command.arg("--").arg(&self.path).args(&self.args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        // A group of its own: Ctrl-C in a terminal ends the owner, and the owner's end ends the program, in order.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }
}

/// A running program. Dropping it ends the program and everything that descends from it.
#[derive(Debug)]
pub struct Process {
    program: Program,
    /// The program's own process id, not the leash's.
    pid: i32,
    leash: Child,
    /// The leash ends the program when this is closed.
    rope: Option<ChildStdin>,
    status: Option<ExitStatus>,
}

impl Process {
    /// The program's process id, for `/proc` and for signals.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// What the program is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// Where its standard output and error go.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.program.log
    }

    /// All it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.program.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Sends a signal to the program.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal::kill(Pid::from_raw(self.pid), signal).with_context(|| format!("signal {}", self.program.name))
    }

    /// The exit code if it has ended; 128 and the signal's number if a signal ended it.
    ///
    /// # Errors
    /// The leash cannot be waited for.
    pub fn exit_code(&mut self) -> Result<Option<i32>> {
        if self.status.is_none() {
            self.status = self.leash.try_wait().with_context(|| format!("wait for {}", self.program.name))?;
        }
        Ok(self.status.map(|status| status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)))
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// It has not ended within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<i32> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(code) = self.exit_code()? {
                return Ok(code);
            }
            if Instant::now() > deadline {
                bail!("{} has not ended within {limit:?}", self.program.name);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until `probe` says yes. Fails at once, with the end of the log, when the program has ended.
    ///
    /// # Errors
    /// It ended, or `limit` passed; the last error of `probe` is part of the text.
    pub fn wait_until(&mut self, what: &str, limit: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
        let name = self.program.name.clone();
        let result = wait_for(&format!("{name}: {what}"), limit, || {
            if let Some(code) = self.exit_code()? {
                return Ok(Some(Some(code)));
            }
            Ok(probe()?.then_some(None))
        });
        match result {
            Ok(None) => Ok(()),
            Ok(Some(code)) => bail!("{name} ended with {code}\n{}", self.log_tail()),
            Err(error) => Err(error.context(self.log_tail())),
        }
    }

    /// Lets it go: the leash begins to end it, and this returns at once. [`Process::stop`] or dropping it then waits.
    pub fn release(&mut self) {
        self.rope = None;
    }

    /// Ends it in order (SIGTERM, grace, SIGKILL) with all its descendants.
    ///
    /// # Errors
    /// Something did not end.
    pub fn stop(&mut self) -> Result<i32> {
        self.release();
        self.wait(self.program.grace + LEASH_LIMIT)
    }

    /// Kills it with SIGKILL and waits until all is cleaned up.
    ///
    /// # Errors
    /// Something did not end.
    pub fn kill(&mut self) -> Result<()> {
        // It may have ended already, and that is what is wanted.
        let _ = self.signal(Signal::SIGKILL);
        self.wait(LEASH_LIMIT).map(|_| ())
    }

    /// Stops it if it runs and starts it anew with the same arguments.
    ///
    /// # Errors
    /// It does not stop or start.
    pub fn restart(&mut self, leash: &Path) -> Result<()> {
        self.stop()?;
        *self = self.program.clone().start(leash)?;
        Ok(())
    }

    fn wait_for_pid(&mut self, pid_file: &Path) -> Result<i32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(text) = fs::read_to_string(pid_file) {
                return text.parse().with_context(|| format!("read {}", pid_file.display()));
            }
            // The file is written first: a program that ended at once has one.
            if let Some(code) = self.exit_code()?
                && !pid_file.exists()
            {
                bail!("{} did not start: the leash ended with {code}\n{}", self.program.name, self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("{} did not start within 20 s", self.program.name);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn log_tail(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.program.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            Ok(tail)
        };
        let tail = read().unwrap_or_default();
        format!("end of {}:\n{}", self.program.log.display(), String::from_utf8_lossy(&tail))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(name = self.program.name, %error, "not stopped");
        }
    }
}

/// Asks `probe` until it says yes. An error means "not yet", and the last one is part of the text when `limit` has passed.
///
/// # Errors
/// `limit` passed.
pub fn wait_until(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, limit, || Ok(probe()?.then_some(())))
}

/// Asks `probe` until it has an answer. An error means "not yet", and the last one is part of the text when `limit` has
/// passed.
///
/// # Errors
/// `limit` passed.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let failed = match probe() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() > deadline {
            let text = format!("{what}: not within {limit:?}");
            return Err(failed.unwrap_or_else(|| anyhow!("the answer is no")).context(text));
        }
        std::thread::sleep(POLL);
    }
}
