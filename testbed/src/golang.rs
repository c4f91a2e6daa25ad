//! Builds one of the test bed's Go modules into the user's cache, once.
//!
//! Knows how to call the Go tool, how to say that it is still at work, and how a cache entry comes to be: built aside,
//! renamed into place when complete, under a lock so that of two builders one waits. It does not know what is built.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest;

/// How long an entry that nobody used stays.
const KEEP_UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often a running build says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Touched on each use; its age is the entry's age.
const USED: &str = ".used";

/// A Go module of the test bed, and how its programs are linked.
pub(crate) struct Module<'a> {
    /// Name of the cache entry, and of the module in messages.
    pub(crate) name: &'static str,
    /// The folder with `go.mod`.
    pub(crate) source: PathBuf,
    /// Linker flags beside those that strip symbols.
    pub(crate) link: String,
    /// Whether the programs must be static, because they run inside a container or beside any C library.
    pub(crate) r#static: bool,
    /// What else belongs into the entry; gets the entry's folder before it is complete.
    pub(crate) finish: &'a dyn Fn(&Path) -> Result<()>,
}

impl Module<'_> {
    /// The folder with the built programs, below `cache`; builds them if they are not there.
    ///
    /// # Errors
    /// No Go tool, a failed build (its last lines are in the error), or a cache that cannot be written.
    pub(crate) fn ensure(&self, cache: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
        let entry = cache.join(format!("{}-{}", self.name, self.key()?));
        if !entry.join(USED).exists() {
            fs::create_dir_all(cache).with_context(|| format!("create the cache {}", cache.display()))?;
            let _lock = lock(&cache.join(format!("{}.lock", self.name)), self.name, progress)?;
            if !entry.join(USED).exists() {
                self.build(&entry, progress)?;
                remove_stale(cache, self.name, &entry);
            }
        }
        fs::write(entry.join(USED), "")?;
        Ok(entry)
    }

    /// SHA-256 over everything that decides what is built.
    fn key(&self) -> Result<String> {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        };
        add(&output(Command::new("go").arg("version"))?);
        add(self.link.as_bytes());
        add(&[u8::from(self.r#static)]);
        for file in sources(&self.source)? {
            add(file.strip_prefix(&self.source)?.as_os_str().as_encoded_bytes());
            add(&fs::read(&file)?);
        }
        Ok(context.finish().as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect())
    }

    fn build(&self, entry: &Path, progress: &mut dyn FnMut(&str)) -> Result<()> {
        let started = Instant::now();
        let partial = tempfile::Builder::new()
            .prefix(&format!(".{}-", self.name))
            .tempdir_in(entry.parent().context("a cache entry has a parent")?)?;
        let out = partial.path().join("out");
        fs::create_dir(&out)?;
        self.compile(&out, progress)?;
        (self.finish)(&out)?;
        fs::write(out.join(USED), "")?;
        fs::rename(&out, entry).with_context(|| format!("move the build to {}", entry.display()))?;
        progress(&format!("{}: built in {}", self.name, elapsed(started)));
        Ok(())
    }

    fn compile(&self, out: &Path, progress: &mut dyn FnMut(&str)) -> Result<()> {
        progress(&format!("{}: loading Go modules", self.name));
        let listed = out.with_extension("packages");
        let mut list = self.go();
        list.args(["list", "-buildvcs=false", "-deps", "./..."]).stdout(File::create(&listed)?);
        run_with_progress(list, self.name, progress, |work| format!("{} modules fetched", work.fetched))?;
        let packages = fs::read_to_string(&listed)?.lines().count();
        let mut target = OsString::from(out);
        target.push("/"); // a folder: every program of the module goes there under its own name
        let mut build = self.go();
        build
            .args(["build", "-v", "-buildvcs=false", "-ldflags"])
            .arg(format!("-s -w {}", self.link))
            .arg("-o")
            .arg(target)
            .arg("./...");
        build.stdout(Stdio::null());
        run_with_progress(build, self.name, progress, |work| {
            format!("{} of at most {packages} packages compiled", work.compiled)
        })
    }

    fn go(&self) -> Command {
        let mut go = Command::new("go");
        go.current_dir(&self.source);
        if self.r#static {
            go.env("CGO_ENABLED", "0");
        }
        go
    }
}

/// The version of `module` that `source/go.mod` requires, with its `v`.
pub(crate) fn required_version(source: &Path, module: &str) -> Result<String> {
    let path = source.join("go.mod");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(module)?.strip_prefix(' '))
        .find_map(|rest| rest.split_whitespace().next().filter(|version| version.starts_with('v')))
        .map(str::to_owned)
        .with_context(|| format!("{} does not require {module}", path.display()))
}

/// The folder that holds the source of `module`, a dependency of the module in `source`.
pub(crate) fn module_dir(source: &Path, module: &str) -> Result<PathBuf> {
    let printed = output(Command::new("go").current_dir(source).args(["list", "-m", "-f", "{{.Dir}}", module]))?;
    Ok(PathBuf::from(String::from_utf8(printed)?.trim()))
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output().context(
        "run go: the test bed builds Kubernetes from source and needs Go 1.26 or newer (package golang, or https://go.dev/dl)",
    )?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let item = item?;
            let path = item.path();
            if item.file_type()?.is_dir() {
                folders.push(path);
            } else if ["go", "mod", "sum"].iter().any(|end| path.extension().is_some_and(|have| have == *end)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

pub(crate) fn lock(path: &Path, name: &str, progress: &mut dyn FnMut(&str)) -> Result<File> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    if file.try_lock().is_err() {
        progress(&format!("{name}: waiting for another build of it to end"));
        file.lock().with_context(|| format!("lock {}", path.display()))?;
    }
    Ok(file)
}

/// What a Go command has said that it did.
#[derive(Default)]
struct Work {
    fetched: usize,
    compiled: usize,
    /// Everything else it said.
    other: Vec<String>,
}

impl Work {
    /// `go build -v` prints each package when it begins to compile it; every command, each module that it fetches.
    fn take(&mut self, line: String) {
        if line.starts_with("go: downloading ") {
            self.fetched += 1;
        } else if is_package(&line) {
            self.compiled += 1;
        } else {
            self.other.push(line);
        }
    }
}

/// Runs a Go command and says every few seconds how far it is, in the words of `describe`.
fn run_with_progress(
    mut go: Command,
    name: &str,
    progress: &mut dyn FnMut(&str),
    describe: impl Fn(&Work) -> String,
) -> Result<()> {
    let started = Instant::now();
    let mut child = go.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("run go")?;
    let stderr = child.stderr.take().context("standard error is a pipe")?;
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        // The send fails when the receiver has gone, and then nobody wants the rest.
        BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let (mut work, mut said) = (Work::default(), Instant::now());
    loop {
        match lines.recv_timeout(PROGRESS_EVERY) {
            Ok(line) => work.take(line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if said.elapsed() >= PROGRESS_EVERY {
            said = Instant::now();
            progress(&format!("{name}: {}, {}", describe(&work), elapsed(started)));
        }
    }
    let _ = reader.join();
    let status = child.wait()?;
    if !status.success() {
        let from = work.other.len().saturating_sub(30);
        bail!("building {name} ended with {status}:\n{}", work.other[from..].join("\n"));
    }
    Ok(())
}

fn is_package(line: &str) -> bool {
    !line.starts_with("go: ") && !line.starts_with('#') && !line.contains(' ')
}

fn elapsed(since: Instant) -> String {
    let seconds = since.elapsed().as_secs();
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

/// Entries of other keys that nobody used for long. Best effort: a left-over costs only space.
fn remove_stale(cache: &Path, name: &str, current: &Path) {
    let Ok(items) = fs::read_dir(cache) else {
        return;
    };
    for path in items.filter_map(|item| Some(item.ok()?.path())) {
        let ours = path
            .file_name()
            .and_then(|file| file.to_str())
            .is_some_and(|file| file.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')));
        let unused_for = fs::metadata(path.join(USED))
            .and_then(|used| used.modified())
            .ok()
            .and_then(|used| SystemTime::now().duration_since(used).ok());
        if ours && path != current && unused_for.is_some_and(|age| age > KEEP_UNUSED) {
            tracing::info!(path = %path.display(), "removing an unused build");
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_require_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("go.mod"),
            "module m\nrequire (\n\tk8s.io/kubernetes v1.2.3\n\tk8s.io/kube v0.9.0 // indirect\n)\n\
             replace (\n\tk8s.io/api => k8s.io/api v0.1.0\n)\n",
        )
        .unwrap();
        assert_eq!(required_version(dir.path(), "k8s.io/kubernetes").unwrap(), "v1.2.3");
        assert_eq!(required_version(dir.path(), "k8s.io/kube").unwrap(), "v0.9.0");
        assert!(required_version(dir.path(), "k8s.io/api").is_err());
    }

    #[test]
    fn stale_entries_of_the_same_module_go_and_fresh_ones_stay() {
        let cache = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - KEEP_UNUSED - Duration::from_secs(60);
        for (name, age) in [("kube-a", old), ("kube-b", SystemTime::now()), ("kube-c", old), ("addons-a", old)] {
            fs::create_dir(cache.path().join(name)).unwrap();
            let used = File::create(cache.path().join(name).join(USED)).unwrap();
            used.set_modified(age).unwrap();
        }
        remove_stale(cache.path(), "kube", &cache.path().join("kube-c"));
        let left = |name: &str| cache.path().join(name).exists();
        assert!(!left("kube-a"));
        assert!(left("kube-b") && left("kube-c") && left("addons-a"));
    }

    #[test]
    fn a_build_is_keyed_by_its_sources() {
        let source = tempfile::tempdir().unwrap();
        fs::write(source.path().join("go.mod"), "module example.test/hello\n\ngo 1.21\n").unwrap();
        fs::write(source.path().join("main.go"), "package main\n\nfunc main() {}\n").unwrap();
        let cache = tempfile::tempdir().unwrap();
        let module = Module {
            name: "hello",
            source: source.path().to_path_buf(),
            link: String::new(),
            r#static: true,
            finish: &|_| Ok(()),
        };
        let first = module.ensure(cache.path(), &mut |_| {}).unwrap();
        assert!(first.join("hello").is_file());
        assert_eq!(module.ensure(cache.path(), &mut |line| panic!("built again: {line}")).unwrap(), first);
        fs::write(source.path().join("main.go"), "package main\n\nfunc main() { println() }\n").unwrap();
        assert_ne!(module.ensure(cache.path(), &mut |_| {}).unwrap(), first);
        fs::write(source.path().join("main.go"), "package main\n\nfunc main() { nothing() }\n").unwrap();
        let error = module.ensure(cache.path(), &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("undefined: nothing"), "{error}");
    }
}
