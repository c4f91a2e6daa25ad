//! `cargo xtask codegen [--check]`: what is generated from something else and checked in. With `--check` nothing is
//! written, and anything stale is an error.
//!
//! Must not know: what uses the generated files.

use std::path::Path;

use anyhow::{Context, bail};

use crate::root;

/// Writes or compares every generated file.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    let mut stale = Vec::new();
    let document = openapi()?;
    let types = crate::web::api_types(&document)?;
    let mut files = vec![("crates/hub/src/grpc/proto.rs", grpc()?), ("openapi/hub.json", document)];
    files.extend(types.map(|types| ("web/src/api/hub.d.ts", types)));
    for (path, content) in files {
        if place(path, &content, check)? {
            stale.push(path);
        }
    }
    match (check, stale.is_empty()) {
        (_, true) => println!("generated files are up to date"),
        (false, false) => println!("written: {}", stale.join(", ")),
        (true, false) => bail!("stale: {}; run: cargo xtask codegen", stale.join(", ")),
    }
    Ok(())
}

/// Whether the file differed; writes it unless only asked to check.
fn place(path: &str, content: &str, check: bool) -> anyhow::Result<bool> {
    let path = root().join(path);
    if std::fs::read_to_string(&path).is_ok_and(|now| now == content) {
        return Ok(false);
    }
    if !check {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(true)
}

fn grpc() -> anyhow::Result<String> {
    let folder = root().join("crates/hub/proto");
    let descriptors = protox::compile(["agent.proto"], [&folder]).context("agent.proto does not compile")?;
    let out = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .out_dir(out.path())
        .compile_fds(descriptors)
        .context("no code could be made of agent.proto")?;
    let code = std::fs::read_to_string(out.path().join("flotilla.agent.v1.rs"))?;
    Ok(format!("//! gRPC messages and service.\n//!\n//! Must not know: the hub.\n\n{code}"))
}

fn openapi() -> anyhow::Result<String> {
    let mut text = flotilla_hub::routes::openapi_document().to_pretty_json()?;
    text.push('\n');
    Ok(text)
}
