//! Which keys there are, and which of them somebody probably meant.
//!
//! Must not know: where a key was written.

use serde_json::Value;

use crate::path::{child, split_last};

/// Below this likeness (0 to 1) a suggestion would be a guess.
const LIKE: f64 = 0.55;

/// All key paths in a tree of built-in values, tables included.
pub(crate) fn key_paths(tree: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, out: &mut Vec<String>) {
        let Value::Object(table) = value else { return };
        for (key, value) in table {
            let path = child(path, key);
            walk(value, &path, out);
            out.push(path);
        }
    }
    let mut out = Vec::new();
    walk(tree, "", &mut out);
    out.sort();
    out
}

/// What to say of a key that does not exist.
pub(crate) fn unknown(key: &str, known: &[String]) -> String {
    if let Some(near) = nearest(key, known) {
        return format!("unknown key `{key}`; did you mean `{near}`?");
    }
    let parent = split_last(key).0;
    let beside: Vec<_> = known.iter().map(String::as_str).filter(|path| split_last(path).0 == parent).collect();
    if beside.is_empty() {
        return format!("unknown key `{key}`");
    }
    format!("unknown key `{key}`; the keys there are: {}", beside.join(", "))
}

fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a str> {
    let scored = known.iter().map(|candidate| (likeness(key, candidate), candidate.as_str()));
    scored.filter(|(score, _)| *score >= LIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

/// A slip of the pen in table or key, or the right key in the wrong table. Table and key are compared apart, so
/// that a long table name does not make all its keys alike.
fn likeness(key: &str, candidate: &str) -> f64 {
    let ((parent, last), (near_parent, near_last)) = (split_last(key), split_last(candidate));
    let alike = strsim::normalized_damerau_levenshtein;
    let slip = alike(parent, near_parent).min(alike(last, near_last));
    let moved = if last == near_last { 0.9 } else { 0.0 };
    slip.max(moved)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn suggests_what_was_meant() {
        let known = key_paths(&json!({"server": {"http_port": 1, "grpc_port": 2}, "database": {"url": ""}}));
        assert_eq!(nearest("server.htp_port", &known), Some("server.http_port"));
        assert_eq!(nearest("server.httpPort", &known), Some("server.http_port"));
        assert_eq!(nearest("servr", &known), Some("server"));
        assert_eq!(nearest("http_port", &known), Some("server.http_port"));
        assert_eq!(nearest("database.dsn", &known), None);
        assert_eq!(unknown("database.dsn", &known), "unknown key `database.dsn`; the keys there are: database.url");
    }
}
