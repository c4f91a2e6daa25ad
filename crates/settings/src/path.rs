//! Key paths (`clusters[0].name`) and walks over trees of values.
//!
//! Must not know: where values come from.

use serde_json::{Map, Value};

/// The path of `key` inside `parent`.
pub(crate) fn child(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// The path of an element of a list.
pub(crate) fn element(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

/// The path without its last key, and that key.
pub(crate) fn split_last(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// A path of `serde_path_to_error` in our notation.
pub(crate) fn of_error(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |parent, segment| match segment {
        Segment::Seq { index } => element(&parent, *index),
        Segment::Map { key } => child(&parent, key),
        Segment::Enum { variant } => child(&parent, variant),
        Segment::Unknown => parent,
    })
}

/// A path of `serde_ignored` in our notation.
pub(crate) fn of_ignored(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => element(&of_ignored(parent), *index),
        Path::Map { parent, key } => child(&of_ignored(parent), key),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => of_ignored(parent),
    }
}

/// Calls `visit` with path and value of everything in the tree that is neither table nor list.
pub(crate) fn for_each_leaf(value: &mut Value, path: &str, visit: &mut impl FnMut(&str, &mut Value)) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| for_each_leaf(value, &child(path, key), visit)),
        Value::Array(list) => {
            list.iter_mut().enumerate().for_each(|(i, value)| for_each_leaf(value, &element(path, i), visit));
        }
        leaf => visit(path, leaf),
    }
}

/// Sets the value at a path of table keys; what stands in the way and is no table gives way.
pub(crate) fn set(root: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            root.insert(path.to_owned(), value);
        }
        Some((key, rest)) => {
            let slot = root.entry(key).or_insert(Value::Null);
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            if let Value::Object(table) = slot {
                set(table, rest, value);
            }
        }
    }
}

/// Removes tables' keys that have nothing behind them (`server:`) where the built-in value is not nothing too.
/// A key that is not known stays, so that it is reported.
pub(crate) fn drop_nulls(tree: &mut Map<String, Value>, known: &Value) {
    tree.retain(|key, value| !(value.is_null() && known.get(key).is_some_and(|known| !known.is_null())));
    for (key, value) in tree {
        if let (Value::Object(table), Some(known)) = (value, known.get(key)) {
            drop_nulls(table, known);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_walk_names_every_leaf() {
        let mut tree = json!({"a": {"b": [1, {"c": "x"}]}, "d": true});
        let mut seen = Vec::new();
        for_each_leaf(&mut tree, "", &mut |path, _| seen.push(path.to_owned()));
        assert_eq!(seen, ["a.b[0]", "a.b[1].c", "d"]);
    }

    #[test]
    fn nothing_behind_a_known_key_is_dropped() {
        let mut tree = json!({"server": null, "typo": null, "optional": null});
        if let Value::Object(map) = &mut tree {
            drop_nulls(map, &json!({"server": {"port": 1}, "optional": null}));
        }
        assert_eq!(tree, json!({"typo": null, "optional": null}));
    }
}
