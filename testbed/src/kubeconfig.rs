//! Kubeconfig files, everything inside, so that they can be moved.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::pki::{Authority, KeyAndCertificate};

/// A kubeconfig with one context, called `cluster`. It is JSON, which is YAML.
pub(crate) fn with_certificate(
    cluster: &str,
    server: &str,
    authority: &Authority,
    user: &str,
    pair: &KeyAndCertificate,
) -> String {
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(authority.certificate()),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": STANDARD.encode(&pair.certificate),
            "client-key-data": STANDARD.encode(&pair.key),
        }}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    });
    format!("{document:#}\n")
}
