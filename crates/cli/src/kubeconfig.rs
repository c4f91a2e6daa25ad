//! Kubeconfigs: ours for kubectl, merged into others', and others' made whole for the hub.
//!
//! A kubeconfig is handled as a tree, so that everything in it that we do not know stays as it was
//! (<https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>).
//!
//! Must not know: where the files are.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::error::{CliError, Doing};
use crate::hub_url::HubUrl;

/// What all contexts of one kubeconfig share.
#[derive(Clone, Debug)]
pub(crate) struct Source<'a> {
    /// The hub.
    pub(crate) hub: &'a HubUrl,
    /// Its CA, PEM, when it is its own.
    pub(crate) ca: Option<&'a str>,
    /// This program, absolute.
    pub(crate) program: &'a str,
    /// Precedes a cluster's name in the names of its context.
    pub(crate) prefix: &'a str,
}

impl Source<'_> {
    /// The context's name for a cluster.
    pub(crate) fn context(&self, cluster: &str) -> String {
        format!("{}{cluster}", self.prefix)
    }

    /// A kubeconfig with one context per cluster. It holds no secret: tokens come from the plugin.
    pub(crate) fn document(&self, clusters: &[&str], current: Option<&str>) -> Value {
        let user = format!("flotilla@{}", self.hub.authority());
        let mut document = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": clusters.iter().map(|name| self.cluster(name)).collect::<Vec<_>>(),
            "users": [{"name": user, "user": {"exec": self.plugin()}}],
            "contexts": clusters.iter().map(|name| {
                json!({"name": self.context(name), "context": {"cluster": self.context(name), "user": user}})
            }).collect::<Vec<_>>(),
        });
        if let Some(current) = current {
            document["current-context"] = Value::from(self.context(current));
        }
        document
    }

    fn cluster(&self, name: &str) -> Value {
        let mut cluster = json!({"server": self.hub.kubernetes_server(name)});
        if let Some(ca) = self.ca {
            cluster["certificate-authority-data"] = Value::from(STANDARD.encode(ca));
        }
        json!({"name": self.context(name), "cluster": cluster})
    }

    /// The credential plugin (`client.authentication.k8s.io/v1`).
    fn plugin(&self) -> Value {
        json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": self.program,
            "args": ["credential", "--hub", self.hub.to_string()],
            "interactiveMode": "Never",
            "provideClusterInfo": false,
            "installHint": "flotilla is not where it was when this kubeconfig was made; run: flotilla kubeconfig --merge",
        })
    }
}

/// Reads a kubeconfig; an empty text is an empty one.
///
/// # Errors
/// When it is not YAML or no mapping.
pub(crate) fn parse(text: &str) -> Result<Value, CliError> {
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let wrong = |why: &str| CliError::general(format!("that is no kubeconfig: {why}"));
    // The parser's message shows the lines around the mistake, which may hold keys: only the place is told.
    let tree: Value = serde_saphyr::from_str(text).map_err(|error| match error.location() {
        Some(place) => wrong(&format!("no YAML at line {}, column {}", place.line(), place.column())),
        None => wrong("no YAML"),
    })?;
    if tree.is_object() { Ok(tree) } else { Err(wrong("it is no mapping")) }
}

/// A kubeconfig as text.
///
/// # Errors
/// Never for what [`parse`] and [`Source::document`] give.
pub(crate) fn render(tree: &Value) -> Result<String, CliError> {
    serde_saphyr::to_string(tree).doing("write a kubeconfig")
}

/// Puts our entries into a kubeconfig. Entries of other names, fields that we do not know, the current context,
/// and the namespace that somebody chose for one of our contexts stay as they are.
///
/// # Errors
/// When a list of it is none.
pub(crate) fn merge(mut existing: Value, ours: &Value) -> Result<Value, CliError> {
    let target = existing.as_object_mut().ok_or_else(|| CliError::general("the kubeconfig is no mapping"))?;
    for key in ["clusters", "users", "contexts"] {
        let list = target.entry(key).or_insert_with(|| json!([]));
        if list.is_null() {
            *list = json!([]);
        }
        let list = list.as_array_mut().ok_or_else(|| {
            CliError::general(format!("{key} of the kubeconfig is no list")).hint("correct the file first")
        })?;
        for entry in ours[key].as_array().into_iter().flatten() {
            put(list, entry.clone());
        }
    }
    for key in ["apiVersion", "kind", "current-context"] {
        let unset = target.get(key).is_none_or(|value| value.is_null() || value == "");
        if let (true, Some(value)) = (unset, ours.get(key)) {
            target.insert(key.to_owned(), value.clone());
        }
    }
    Ok(existing)
}

fn put(list: &mut Vec<Value>, mut entry: Value) {
    match list.iter_mut().find(|old| old["name"] == entry["name"]) {
        Some(old) => {
            let namespace = old["context"].get("namespace").cloned();
            if let (Some(namespace), Some(context)) = (namespace, entry.get_mut("context")) {
                context["namespace"] = namespace;
            }
            *old = entry;
        }
        None => list.push(entry),
    }
}

/// One context of somebody's kubeconfig, alone and with the files that it names put inline, so that the hub
/// can use it. `directory` is the kubeconfig's: relative names count from there.
///
/// # Errors
/// Names what the hub could not use: a plugin, a missing file, a missing entry.
pub(crate) fn self_contained(tree: &Value, context: Option<&str>, directory: &Path) -> Result<Value, CliError> {
    let chosen = context.or_else(|| tree["current-context"].as_str()).filter(|name| !name.is_empty());
    let Some(name) = chosen else {
        return Err(CliError::usage("the kubeconfig has no current context").hint("choose one with --context"));
    };
    let context = named(tree, "contexts", "context", name)?;
    let part = |key: &str| {
        context[key].as_str().ok_or_else(|| CliError::general(format!("the context {name:?} names no {key}")))
    };
    let (cluster_name, user_name) = (part("cluster")?, part("user")?);
    let mut cluster = named(tree, "clusters", "cluster", cluster_name)?;
    let mut user = named(tree, "users", "user", user_name)?;
    refuse_plugins(&user, user_name)?;
    inline(&mut cluster, "certificate-authority", "certificate-authority-data", directory)?;
    inline(&mut user, "client-certificate", "client-certificate-data", directory)?;
    inline(&mut user, "client-key", "client-key-data", directory)?;
    inline_token(&mut user, directory)?;
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster_name, "cluster": cluster}],
        "users": [{"name": user_name, "user": user}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }))
}

fn named(tree: &Value, list: &str, key: &str, name: &str) -> Result<Value, CliError> {
    let entries = tree[list].as_array().into_iter().flatten();
    let names: Vec<&str> = entries.clone().filter_map(|entry| entry["name"].as_str()).collect();
    let found = entries.clone().find(|entry| entry["name"] == name).map(|entry| entry[key].clone());
    found.filter(Value::is_object).ok_or_else(|| {
        CliError::general(format!("the kubeconfig has no {key} {name:?}")).hint(format!("it has: {}", names.join(", ")))
    })
}

fn refuse_plugins(user: &Value, name: &str) -> Result<(), CliError> {
    for plugin in ["exec", "auth-provider"] {
        if user.get(plugin).is_some_and(|value| !value.is_null()) {
            let message = format!("the user {name:?} signs in through the plugin {plugin:?}, which the hub cannot run");
            let hint = "use a kubeconfig with a service account's token, or put an agent into the cluster: leave out --kubeconfig";
            return Err(CliError::general(message).hint(hint));
        }
    }
    Ok(())
}

/// Replaces `key`, a file, by `data_key`, its content in base64. As in client-go, data wins over a file.
fn inline(entry: &mut Value, key: &str, data_key: &str, directory: &Path) -> Result<(), CliError> {
    let Some(map) = entry.as_object_mut() else { return Ok(()) };
    let Some(file) = map.remove(key).and_then(|value| value.as_str().map(str::to_owned)) else { return Ok(()) };
    let has_data = map.get(data_key).and_then(Value::as_str).is_some_and(|data| !data.is_empty());
    if file.is_empty() || has_data {
        return Ok(());
    }
    let path = directory.join(file);
    let content = std::fs::read(&path).doing(format!("read {key} {}", path.display()))?;
    map.insert(data_key.to_owned(), Value::from(STANDARD.encode(content)));
    Ok(())
}

/// Replaces `tokenFile` by `token`. As in client-go, the file wins over a token that stands there.
fn inline_token(user: &mut Value, directory: &Path) -> Result<(), CliError> {
    let Some(map) = user.as_object_mut() else { return Ok(()) };
    let Some(file) = map.remove("tokenFile").and_then(|value| value.as_str().map(str::to_owned)) else {
        return Ok(());
    };
    if file.is_empty() {
        return Ok(());
    }
    let path = directory.join(file);
    let token = std::fs::read_to_string(&path).doing(format!("read tokenFile {}", path.display()))?;
    map.insert("token".to_owned(), Value::from(token.trim()));
    Ok(())
}

#[cfg(test)]
#[path = "kubeconfig_tests.rs"]
mod tests;
