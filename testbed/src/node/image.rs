//! Container images made on the spot, because a test must not depend on a registry: OCI image layouts in a tar file
//! (image-spec 1.1), as `ctr images import` reads them.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest;
use serde_json::{Value, json};
use tar::{EntryType, Header};

/// What holds the namespaces of each pod.
pub(super) const PAUSE: &str = "flotilla.test/pause:1";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The pause image with its one static program.
pub(super) fn pause(program: &Path) -> Result<Vec<u8>> {
    let mut layer = Layer::default();
    let content = std::fs::read(program).with_context(|| format!("read {}", program.display()))?;
    layer.file("pause", 0o755, &content)?;
    archive(PAUSE, &layer.finish()?, &json!({"Entrypoint": ["/pause"], "User": "65535:65535"}))
}

/// An image with the static busybox at `program` under the names of all its applets.
pub(super) fn busybox(reference: &str, program: &Path) -> Result<Vec<u8>> {
    let listed = Command::new(program).arg("--list").stdin(Stdio::null()).output().context("run busybox --list")?;
    ensure!(listed.status.success(), "busybox --list ended with {}", listed.status);
    let mut layer = Layer::default();
    for (folder, mode) in [("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("var", 0o755)] {
        layer.folder(folder, mode)?;
    }
    layer.file("bin/busybox", 0o755, &std::fs::read(program)?)?;
    for applet in String::from_utf8(listed.stdout)?.lines().filter(|applet| *applet != "busybox") {
        layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    layer.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")?;
    layer.file("etc/group", 0o644, b"root:x:0:\nnobody:x:65534:\n")?;
    archive(reference, &layer.finish()?, &json!({"Cmd": ["sh"], "Env": ["PATH=/bin"], "WorkingDir": "/"}))
}

/// A file system layer. Times and owners are zero, so that the same content has the same digest.
struct Layer(tar::Builder<Vec<u8>>);

impl Default for Layer {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Layer {
    fn folder(&mut self, path: &str, mode: u32) -> Result<()> {
        Ok(self.0.append_data(&mut header(EntryType::Directory, mode, 0), format!("{path}/"), &[][..])?)
    }

    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        Ok(self.0.append_data(&mut header(EntryType::Regular, mode, content.len()), path, content)?)
    }

    fn link(&mut self, path: &str, target: &str) -> Result<()> {
        Ok(self.0.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target)?)
    }

    fn finish(self) -> Result<Vec<u8>> {
        Ok(self.0.into_inner()?)
    }
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header
}

/// An OCI image layout that holds one image of one layer.
fn archive(reference: &str, layer: &[u8], config: &Value) -> Result<Vec<u8>> {
    // The layer is not compressed, so its digest is its diff id as well.
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
    });
    let config = serde_json::to_vec(&config)?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": [descriptor(LAYER, layer)],
    }))?;
    let mut entry = descriptor(MANIFEST, &manifest);
    // containerd names the image after its own annotation, other tools after the specification's.
    entry["annotations"] =
        json!({"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference});
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?;

    let mut out = Layer::default();
    out.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    out.file("index.json", 0o644, &index)?;
    for blob in [config.as_slice(), layer, manifest.as_slice()] {
        out.file(&format!("blobs/{}", digest_of(blob).replace(':', "/")), 0o644, blob)?;
    }
    out.finish()
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest_of(content), "size": content.len()})
}

fn digest_of(content: &[u8]) -> String {
    let sum = digest::digest(&digest::SHA256, content);
    let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// This machine's architecture by its name in Go, which OCI uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn every_blob_is_where_its_digest_says() {
        let mut layer = Layer::default();
        layer.file("hello", 0o644, b"world").unwrap();
        let image = archive("flotilla.test/hello:1", &layer.finish().unwrap(), &json!({"Cmd": ["sh"]})).unwrap();
        let mut blobs = 0;
        for entry in tar::Archive::new(image.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if let Some(name) = path.strip_prefix("blobs/") {
                assert_eq!(name.replace('/', ":"), digest_of(&content));
                blobs += 1;
            }
        }
        assert_eq!(blobs, 3);
    }
}
