//! A real Keycloak, the identity provider of the sign-in tests. It comes from Maven Central, is prepared once and kept
//! in the user's cache; each instance has a folder of its own with an in-memory database and one imported realm.
//!
//! Must not know: who signs in there, or what a client does with it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::golang::lock;
use crate::probe::get_plain;
use crate::process::{Process, Program};
use crate::{default_cache, free_port};

/// Runs on Java 17.
const VERSION: &str = "26.0.7";
/// The program for Maven that unpacks it.
const UNPACK: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack";
/// 15 s on an idle machine.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// Name and password of the administrator of every instance.
pub const KEYCLOAK_ADMIN: (&str, &str) = ("admin", "admin-of-the-test-bed");

/// A running Keycloak. Dropping it ends it.
#[derive(Debug)]
pub struct Keycloak {
    process: Process,
    port: u16,
    realm: String,
}

impl Keycloak {
    /// The prepared program in the user's cache.
    ///
    /// # Errors
    /// No Java 17, no Maven, or Maven Central cannot be reached.
    pub fn ensure(progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
        let cache = default_cache()?;
        let entry = cache.join(format!("keycloak-{VERSION}"));
        if entry.exists() {
            return Ok(entry);
        }
        fs::create_dir_all(&cache)?;
        let _lock = lock(&cache.join("keycloak.lock"), "keycloak", progress)?;
        if entry.exists() {
            return Ok(entry);
        }
        progress("keycloak: fetching it from Maven Central (147 MB)");
        let partial = tempfile::Builder::new().prefix(".keycloak-").tempdir_in(&cache)?;
        let mut maven = Command::new("mvn");
        maven.args([
            "--batch-mode",
            "--quiet",
            UNPACK,
            &format!("-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"),
        ]);
        run(maven.arg(format!("-DoutputDirectory={}", partial.path().display())).current_dir(partial.path()))?;
        progress("keycloak: preparing it");
        let unpacked = partial.path().join(format!("keycloak-{VERSION}"));
        run(Command::new("sh").arg(unpacked.join("bin/kc.sh")).args(["build", "--db=dev-mem"]))?;
        fs::rename(&unpacked, &entry).with_context(|| format!("move it to {}", entry.display()))?;
        Ok(entry)
    }

    /// Starts an instance that keeps everything below `dir`, with the realm of this JSON, and returns when it answers.
    ///
    /// # Errors
    /// It does not start; the error holds the end of its log.
    pub fn start(program: &Path, leash: &Path, dir: &Path, realm: &serde_json::Value) -> Result<Self> {
        let name = realm["realm"].as_str().context("a realm has a name")?.to_owned();
        let port = free_port()?;
        let home = dir.join("keycloak");
        for folder in ["data/import", "conf", "providers"] {
            fs::create_dir_all(home.join(folder))?;
        }
        symlink(program.join("lib"), home.join("lib"))?;
        fs::copy(program.join("conf/cache-ispn.xml"), home.join("conf/cache-ispn.xml"))?;
        fs::write(home.join(format!("data/import/{name}-realm.json")), realm.to_string())?;
        let process = Program::new("keycloak", "java", dir)
            .arg(format!("-Dkc.home.dir={}", home.display()))
            .args([
                "-Dkc.config.built=true",
                "-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
                // It lives for a minute: the better compiler would not pay.
                "-XX:TieredStopAtLevel=1",
                "-Xmx512m",
                "-cp",
            ])
            .arg(home.join("lib/quarkus-run.jar"))
            .args(["io.quarkus.bootstrap.runner.QuarkusEntryPoint", "start", "--optimized", "--import-realm"])
            .args(["--http-enabled=true", "--http-host=127.0.0.1", "--hostname-strict=false"])
            .arg(format!("--http-port={port}"))
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", KEYCLOAK_ADMIN.0)
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", KEYCLOAK_ADMIN.1)
            .current_dir(&home)
            .start(leash)?;
        let mut keycloak = Self { process, port, realm: name };
        let path = format!("/realms/{}/.well-known/openid-configuration", keycloak.realm);
        keycloak.process.wait_until("serves its realm", READY_LIMIT, || Ok(get_plain(port, &path)? == 200))?;
        Ok(keycloak)
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The realm's issuer.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("{}/realms/{}", self.url(), self.realm)
    }

    /// The process, for its log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {program}"))?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&said).trim_end());
    Ok(())
}
