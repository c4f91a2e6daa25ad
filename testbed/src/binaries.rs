//! The programs of the test bed: which Go modules there are and where their results lie.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use etcetera::BaseStrategy;

use crate::golang::{Module, module_dir, required_version};

/// Stages that make kwok's nodes and pods Ready at once and keep the nodes' heartbeat, below the kwok module.
const KWOK_STAGES: [&str; 5] = [
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
];

/// The small helpers, built in seconds and without any dependency.
#[derive(Clone, Debug)]
pub struct Tools {
    dir: PathBuf,
}

impl Tools {
    /// Builds the helpers unless the user's cache has them. This alone suffices for [`crate::Process`].
    ///
    /// # Errors
    /// No Go tool, a failed build, or an unwritable cache.
    pub fn ensure(progress: &mut dyn FnMut(&str)) -> Result<Self> {
        Self::ensure_in(&default_cache()?, progress)
    }

    fn ensure_in(cache: &Path, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let dir =
            Module { name: "tools", source: source("tools"), link: String::new(), r#static: true, finish: &|_| Ok(()) }
                .ensure(cache, progress)?;
        Ok(Self { dir })
    }

    /// The program that ties a process to its owner's life.
    #[must_use]
    pub fn leash(&self) -> PathBuf {
        self.dir.join("leash")
    }

    /// The static program of the pause image.
    pub(crate) fn pause(&self) -> PathBuf {
        self.dir.join("pause")
    }
}

/// Everything the test bed runs, built and in the cache.
#[derive(Clone, Debug)]
pub struct Binaries {
    tools: Tools,
    kube: PathBuf,
    addons: PathBuf,
}

impl Binaries {
    /// Builds what is not in the user's cache (`<cache>/flotilla/testbed`) and says so through `progress`, a line every
    /// few seconds. Minutes when cold, milliseconds afterwards.
    ///
    /// # Errors
    /// No Go tool, a failed build, or an unwritable cache.
    pub fn ensure(progress: &mut dyn FnMut(&str)) -> Result<Self> {
        Self::ensure_in(&default_cache()?, progress)
    }

    /// As [`Binaries::ensure`], in a cache folder of the caller's.
    ///
    /// # Errors
    /// As [`Binaries::ensure`].
    pub fn ensure_in(cache: &Path, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        Ok(Self {
            tools: Tools::ensure_in(cache, progress)?,
            kube: ensure_kube(cache, progress)?,
            addons: ensure_addons(cache, progress)?,
        })
    }

    /// The small helpers.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The program that ties a process to its owner's life.
    #[must_use]
    pub fn leash(&self) -> PathBuf {
        self.tools.leash()
    }

    /// A folder with `kubectl` and `helm`, to be put first into `PATH`.
    #[must_use]
    pub fn bin_dir(&self) -> PathBuf {
        self.kube.join("bin")
    }

    /// Unmodified kubectl.
    #[must_use]
    pub fn kubectl(&self) -> PathBuf {
        self.bin_dir().join("kubectl")
    }

    /// Unmodified Helm.
    #[must_use]
    pub fn helm(&self) -> PathBuf {
        self.bin_dir().join("helm")
    }

    /// Kubernetes; the first argument names the component.
    #[must_use]
    pub fn kube(&self) -> PathBuf {
        self.kube.join("kube")
    }

    /// kwok and metrics-server; the first argument names which.
    #[must_use]
    pub fn addons(&self) -> PathBuf {
        self.addons.join("addons")
    }

    /// Configuration files for kwok.
    pub(crate) fn kwok_stages(&self) -> Vec<PathBuf> {
        KWOK_STAGES.iter().map(|stage| self.addons.join("stages").join(file_name(stage))).collect()
    }
}

/// Builds a Go module of the caller's as the test bed builds its own: into the user's cache, once per state of its
/// sources. Returns the folder with its programs. `name` must be its alone.
///
/// # Errors
/// No Go tool, a failed build, or an unwritable cache.
pub fn build_go_module(name: &'static str, source: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let source = source.to_owned();
    Module { name, source, link: String::new(), r#static: false, finish: &|_| Ok(()) }
        .ensure(&default_cache()?, progress)
}

pub(crate) fn default_cache() -> Result<PathBuf> {
    let base = etcetera::choose_base_strategy().context("find the user's cache folder")?;
    Ok(base.cache_dir().join("flotilla").join("testbed"))
}

fn source(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(module)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn ensure_kube(cache: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let source = source("kube");
    let link = version_flags(
        &required_version(&source, "k8s.io/kubernetes")?,
        &required_version(&source, "helm.sh/helm/v4")?,
    )?;
    let finish = |entry: &Path| -> Result<()> {
        fs::create_dir(entry.join("bin"))?;
        for name in ["kubectl", "helm"] {
            symlink("../kube", entry.join("bin").join(name))?;
        }
        Ok(())
    };
    Module { name: "kube", source, link, r#static: false, finish: &finish }.ensure(cache, progress)
}

/// Without these the programs call themselves v0.0.0, and clients refuse to talk to such a server or warn about it.
fn version_flags(kubernetes: &str, helm: &str) -> Result<String> {
    let mut parts = kubernetes.trim_start_matches('v').split('.');
    let major = parts.next().context("a version has a major number")?;
    let minor = parts.next().context("a version has a minor number")?;
    let mut flags = Vec::new();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in
            [("gitVersion", kubernetes), ("gitMajor", major), ("gitMinor", minor), ("gitTreeState", "clean")]
        {
            flags.push(format!("-X {package}.{name}={value}"));
        }
    }
    let helm_version = "helm.sh/helm/v4/internal/version";
    flags.push(format!("-X {helm_version}.version={helm}"));
    flags.push(format!("-X {helm_version}.kubeClientVersionMajor={major}"));
    flags.push(format!("-X {helm_version}.kubeClientVersionMinor={minor}"));
    Ok(flags.join(" "))
}

fn ensure_addons(cache: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let source = source("addons");
    let module = source.clone();
    let finish = |entry: &Path| -> Result<()> {
        let stages = module_dir(&module, "sigs.k8s.io/kwok")?.join("kustomize").join("stage");
        fs::create_dir(entry.join("stages"))?;
        for stage in KWOK_STAGES {
            let text = fs::read(stages.join(stage)).with_context(|| format!("read kwok's stage {stage}"))?;
            fs::write(entry.join("stages").join(file_name(stage)), text)?;
        }
        Ok(())
    };
    Module { name: "addons", source, link: String::new(), r#static: false, finish: &finish }.ensure(cache, progress)
}
