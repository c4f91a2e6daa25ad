//! Running programs and looking at how they end, with a limit on everything.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flotilla_harness::HubProcess;
use flotilla_testbed::{Binaries, wait_for};

/// No command of the suite may take longer.
const LIMIT: Duration = Duration::from_secs(120);

/// Arguments: a line that is split at spaces, or words.
pub(crate) trait Words {
    fn words(&self) -> Vec<&str>;
}

impl Words for &str {
    fn words(&self) -> Vec<&str> {
        self.split_whitespace().collect()
    }
}

impl<const N: usize> Words for [&str; N] {
    fn words(&self) -> Vec<&str> {
        self.to_vec()
    }
}

impl Words for &[&str] {
    fn words(&self) -> Vec<&str> {
        self.to_vec()
    }
}

impl Words for &String {
    fn words(&self) -> Vec<&str> {
        self.split_whitespace().collect()
    }
}

/// Unmodified kubectl (or Helm) as one person in one cluster, through the hub.
#[derive(Clone)]
pub(crate) struct Kubectl {
    program: PathBuf,
    helm: PathBuf,
    environment: Vec<(OsString, OsString)>,
    namespace: Option<String>,
}

impl Kubectl {
    /// With a kubeconfig made by `flotilla kubeconfig`, in the home of `user`.
    pub(crate) fn new(binaries: &Binaries, hub: &HubProcess, user: &str, cluster: &str) -> Self {
        let home = hub.dir().join("homes").join(user);
        let kubeconfig = home.join(format!("{cluster}.kubeconfig"));
        if !kubeconfig.exists() {
            hub.flotilla_ok(user, &["kubeconfig", "--cluster", cluster, "--out", kubeconfig.to_str().unwrap()])
                .unwrap();
        }
        let prepared = hub.flotilla(user);
        let owned = |(name, value): (&OsStr, Option<&OsStr>)| Some((name.to_owned(), value?.to_owned()));
        let mut environment: Vec<(OsString, OsString)> = prepared.get_envs().filter_map(owned).collect();
        environment.push(("KUBECONFIG".into(), kubeconfig.into()));
        Self { program: binaries.kubectl(), helm: binaries.helm(), environment, namespace: None }
    }

    pub(crate) fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.environment.push((name.into(), value.into()));
        changed
    }

    /// The namespace, for tests that need its name.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().expect("a namespace")
    }

    fn prepared(&self, program: &PathBuf) -> Command {
        let mut command = Command::new(program);
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).env_remove("XDG_RUNTIME_DIR");
        command.args(self.namespace.iter().flat_map(|namespace| ["--namespace", namespace]));
        command
    }

    #[allow(clippy::needless_pass_by_value, reason = "a line or words, written where they are used")]
    pub(crate) fn command(&self, words: impl Words) -> Command {
        let mut command = self.prepared(&self.program);
        command.args(words.words());
        command
    }

    /// Runs it; how it ended is for the caller to judge.
    pub(crate) fn run(&self, words: impl Words) -> Done {
        run(self.command(words), b"")
    }

    /// Runs it with `input` on its standard input.
    pub(crate) fn feed(&self, words: impl Words, input: impl AsRef<[u8]>) -> Done {
        run(self.command(words), input.as_ref())
    }

    /// Runs it, and it must succeed; its standard output.
    pub(crate) fn ok(&self, words: impl Words) -> String {
        self.run(words).ok()
    }

    /// Runs it, and it must fail; its standard error.
    pub(crate) fn refused(&self, words: impl Words) -> String {
        self.run(words).refused()
    }

    /// Starts it and lets it run.
    pub(crate) fn start(&self, words: impl Words) -> Background {
        Background::start(self.command(words))
    }

    /// Runs Helm, and it must succeed.
    #[allow(clippy::needless_pass_by_value, reason = "as above")]
    pub(crate) fn helm(&self, words: impl Words) -> String {
        let mut command = self.prepared(&self.helm);
        command.args(words.words());
        run(command, b"").ok()
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Done {
    line: String,
    status: ExitStatus,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status.success(), "{}: {}\n{}{}", self.line, self.status, self.text(), self.err);
        self.text()
    }

    #[track_caller]
    pub(crate) fn refused(self) -> String {
        assert!(!self.status.success(), "{} should have failed; it said: {}{}", self.line, self.text(), self.err);
        self.err
    }
}

/// Runs a program to its end.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Done {
    let line = format!("{:?}", command.get_args().collect::<Vec<_>>());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a program");
    let (mut stdin, out, err) =
        (child.stdin.take().unwrap(), gathered(child.stdout.take()), gathered(child.stderr.take()));
    let (out, err) = std::thread::scope(|scope| {
        // A program that does not read its input closes the pipe; that is its right.
        scope.spawn(move || drop(stdin.write_all(input)));
        let status = wait(&mut child, &line);
        (out.join().unwrap(), (status, err.join().unwrap()))
    });
    Done { line, status: err.0, out, err: String::from_utf8_lossy(&err.1).into_owned() }
}

fn gathered(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    let mut pipe = pipe.expect("a pipe");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn wait(child: &mut Child, line: &str) -> ExitStatus {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("{line} has not ended within {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A program that runs on while the test does something else. Dropping it kills it.
pub(crate) struct Background {
    line: String,
    child: Child,
    stdin: Option<ChildStdin>,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Background {
    pub(crate) fn start(mut command: Command) -> Self {
        let line = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a program");
        let seen = Arc::default();
        follow(child.stdout.take().unwrap(), &seen);
        follow(child.stderr.take().unwrap(), &seen);
        Self { line, stdin: child.stdin.take(), child, seen }
    }

    /// What it has said so far, on both outputs.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until it has said `text`; all that it has said.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str, limit: Duration) -> String {
        let said = wait_for(text, limit, || Ok(Some(self.text()).filter(|said| said.contains(text))));
        said.unwrap_or_else(|error| panic!("{}: {error:#}; it said: {}", self.line, self.text()))
    }

    /// Waits for its end; its exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self, limit: Duration) -> i32 {
        let ended = wait_for("its end", limit, || Ok(self.child.try_wait()?));
        let ended = ended.unwrap_or_else(|error| panic!("{}: {error:#}; it said: {}", self.line, self.text()));
        ended.code().unwrap_or(-1)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().expect("an open pipe").write_all(bytes).expect("it reads");
    }

    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Adds what comes through a pipe to `seen` until the pipe ends.
fn follow(mut pipe: impl Read + Send + 'static, seen: &Arc<Mutex<Vec<u8>>>) {
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut chunk) {
            seen.lock().unwrap().extend_from_slice(&chunk[..count]);
        }
    });
}
