//! `flotilla kubeconfig`: plain kubectl, Helm, k9s and others on every cluster.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flotilla_types::api::ClusterList;
use serde_json::Value;

use crate::context::{Context, this_program};
use crate::error::{CliError, Doing};
use crate::files::{self, LockFile};
use crate::hub_client::Call;
use crate::kubeconfig::{self, Source};
use crate::output::write_stdout;
use crate::terminal;

/// How long kubectl's lock on a kubeconfig is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Make a kubeconfig for the clusters you may reach
///
/// It holds no secret: clients call `flotilla credential` for a token, so it works for as long as you are
/// signed in. Prints it, writes it to a file, or merges it into kubectl's own.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla kubeconfig --merge && kubectl --context flotilla-dev get pods
  flotilla kubeconfig --cluster 'dev-*' --out dev.yaml
  flotilla kubeconfig --out fleet.yaml && KUBECONFIG=fleet.yaml helm list -A")]
pub(crate) struct Args {
    /// Only clusters of this name; * stands for anything. May be given several times
    #[arg(long, value_name = "PATTERN")]
    cluster: Vec<String>,

    /// Write to this file
    #[arg(long, value_name = "FILE", conflicts_with = "merge")]
    out: Option<PathBuf>,

    /// Merge into kubectl's kubeconfig; what is there stays, and the file as it was is kept beside it
    #[arg(long)]
    merge: bool,

    /// Kubeconfig that --merge writes to, instead of ~/.kube/config
    #[arg(long, value_name = "FILE", env = "KUBECONFIG", hide_env_values = true)]
    kubeconfig: Option<OsString>,

    /// What precedes a cluster's name in its context's name
    #[arg(long, value_name = "TEXT", default_value = "flotilla-")]
    prefix: String,
}

/// Makes a kubeconfig.
///
/// # Errors
/// When no cluster fits or the file cannot be written.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let ours = document(context, &args).await?;
    if args.merge {
        let target = merge_target(args.kubeconfig.as_deref(), &context.paths.kube_config);
        return merge_into(&target, &ours);
    }
    let text = kubeconfig::render(&ours)?;
    match &args.out {
        Some(path) => files::replace(path, &text, None).doing(format!("write {}", path.display())),
        None => write_stdout(&text),
    }
}

async fn document(context: &Context, args: &Args) -> Result<Value, CliError> {
    let hub = context.hub()?;
    let list: ClusterList = context.client()?.call(&Call::get(&["api", "clusters"])).await?;
    let fits = |name: &str| args.cluster.is_empty() || args.cluster.iter().any(|pattern| matches(pattern, name));
    let names: Vec<&str> = list.clusters.iter().map(|view| view.name.as_str()).filter(|name| fits(name)).collect();
    if names.is_empty() {
        return Err(CliError::general("no cluster that you may reach fits").hint("flotilla clusters list shows them"));
    }
    let chosen = context.chosen_cluster()?;
    let current = names.iter().find(|name| Some(**name) == chosen.as_deref()).or(names.first());
    let ca = context.store.entry(&hub)?.ca;
    let program = this_program()?;
    let source = Source { hub: &hub, ca: ca.as_deref(), program: &program, prefix: &args.prefix };
    Ok(source.document(&names, current.copied()))
}

/// Whether `name` fits `pattern`, in which `*` stands for any run of characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).filter_map(|at| rest.get(at..)).any(|rest| matches(tail, rest))),
    }
}

/// The file that kubectl would write a new context to: of several in KUBECONFIG the first that is there,
/// otherwise the last (client-go, `PathOptions.GetDefaultFilename`).
fn merge_target(listed: Option<&OsStr>, default: &Path) -> PathBuf {
    let files: Vec<PathBuf> =
        std::env::split_paths(listed.unwrap_or_default()).filter(|file| !file.as_os_str().is_empty()).collect();
    let there = files.iter().find(|file| file.exists());
    there.or(files.last()).cloned().unwrap_or_else(|| default.to_owned())
}

/// Merges under kubectl's own lock. A link stays a link, the mode stays the mode, and a reader meets the old
/// file or the new one.
fn merge_into(target: &Path, ours: &Value) -> Result<(), CliError> {
    let doing = || format!("merge into {}", target.display());
    let _lock = LockFile::take(target, LOCK_PATIENCE).map_err(|error| {
        CliError::general(format!("cannot lock {}: {error}", target.display()))
            .hint(format!("if no kubectl is running, remove {}.lock", target.display()))
    })?;
    let real = std::fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
    let old = files::read_if_there(&real).doing(doing())?;
    let tree = kubeconfig::parse(old.as_deref().unwrap_or_default())
        .map_err(|error| CliError::general(format!("{}: {error}", target.display())))?;
    let merged = kubeconfig::merge(tree.clone(), ours)?;
    if merged == tree {
        terminal::note(&format!("{} is up to date", target.display()));
        return Ok(());
    }
    if let Some(old) = &old {
        let backup = with_suffix(&real, ".before-flotilla");
        files::replace(&backup, old, None).doing(doing())?;
        terminal::note(&format!("{} keeps what was there", backup.display()));
    }
    let permissions = std::fs::metadata(&real).ok().map(|meta| meta.permissions());
    files::replace(&real, &kubeconfig::render(&merged)?, permissions).doing(doing())?;
    for name in ours["contexts"].as_array().into_iter().flatten().filter_map(|context| context["name"].as_str()) {
        terminal::note(&format!("context {name}"));
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, wanted) in [
            ("dev", "dev", true),
            ("dev", "dev-1", false),
            ("dev-*", "dev-1", true),
            ("dev-*", "dev", false),
            ("*", "x", true),
            ("*-eu-*", "prod-eu-1", true),
            ("*-eu-*", "prod-us-1", false),
            ("a*b*c", "abbc", true),
            ("a*b*c", "abb", false),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn the_file_that_kubectl_would_take() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let list = |names: &[&str]| std::env::join_paths(names.iter().map(|name| at(name))).unwrap();
        std::fs::write(at("there"), "").unwrap();
        let default = at("default");
        assert_eq!(merge_target(None, &default), default);
        assert_eq!(merge_target(Some(OsStr::new("")), &default), default);
        assert_eq!(merge_target(Some(&list(&["one"])), &default), at("one"));
        assert_eq!(merge_target(Some(&list(&["no", "there", "last"])), &default), at("there"));
        assert_eq!(merge_target(Some(&list(&["no", "last"])), &default), at("last"));
    }

    fn ours() -> Value {
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "n", "clusters": [], "users": [],
            "contexts": [{"name": "n", "context": {}}]})
    }

    #[cfg(unix)]
    #[test]
    fn a_merge_keeps_mode_and_link_and_a_copy() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("config"));
        std::fs::write(&real, "current-context: mine\n").unwrap();
        std::fs::set_permissions(&real, PermissionsExt::from_mode(0o640)).unwrap();
        symlink(&real, &link).unwrap();
        merge_into(&link, &ours()).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        let merged = kubeconfig::parse(&std::fs::read_to_string(&real).unwrap()).unwrap();
        assert_eq!(merged["current-context"], "mine");
        assert_eq!(merged["contexts"][0]["name"], "n");
        let copy = std::fs::read_to_string(dir.path().join("real.before-flotilla")).unwrap();
        assert_eq!(copy, "current-context: mine\n");
        assert!(!dir.path().join("config.lock").exists());
    }

    #[test]
    fn a_second_merge_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("new/config");
        merge_into(&target, &ours()).unwrap();
        let first = std::fs::metadata(&target).unwrap().modified().unwrap();
        merge_into(&target, &ours()).unwrap();
        assert_eq!(std::fs::metadata(&target).unwrap().modified().unwrap(), first);
        assert!(!dir.path().join("new/config.before-flotilla").exists());
    }

    #[test]
    fn a_file_that_is_no_kubeconfig_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("config");
        std::fs::write(&target, "- not: a\n- config\n").unwrap();
        assert!(merge_into(&target, &ours()).is_err());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "- not: a\n- config\n");
    }
}
