//! Walks two objects side by side and lists where they differ.
//!
//! Both are walked once, with one buffer for the path, so that an object which is made to be slow to compare (long
//! keys around many values) costs no more than its own size.
//!
//! Must not know: what a secret looks like.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_types::audit::{Change, Diff, REDACTED};
use serde_json::{Map, Value};

use super::redact::{self, View};

/// Room for the changes of one diff, in bytes of JSON.
const ROOM: usize = 8 * 1024;
/// Longest path that is kept, in characters.
const MAX_PATH: usize = 256;
/// Longest text of a value that is kept, in characters.
const MAX_TEXT: usize = 256;

/// Lists the changes from `before` to `after`. Of a `secret` only the shape is shown.
pub(super) fn changes(secret: bool, before: Option<&Value>, after: Option<&Value>) -> Diff {
    let mut walk = Walk { diff: Diff::default(), room: ROOM, path: String::new() };
    let whole = before.is_none() || after.is_none();
    let view = if secret { View::secret() } else { View::plain(whole) };
    walk.values(before, after, view);
    walk.diff
}

struct Walk {
    diff: Diff,
    room: usize,
    path: String,
}

impl Walk {
    fn values(&mut self, before: Option<&Value>, after: Option<&Value>, view: View) {
        let there = |value: &&Value| !value.is_null();
        let (before, after) = (before.filter(there), after.filter(there));
        if before == after || view == View::Dropped {
            return;
        }
        if [before, after].into_iter().flatten().any(|value| view.is_opaque(value)) {
            return self.note(before, after, view);
        }
        match (before, after) {
            (Some(Value::Object(before)), Some(Value::Object(after))) => self.objects(before, after, view),
            (Some(Value::Array(before)), Some(Value::Array(after))) => self.arrays(before, after, view),
            (None, Some(Value::Object(after))) if !after.is_empty() => self.objects(&Map::new(), after, view),
            (Some(Value::Object(before)), None) if !before.is_empty() => self.objects(before, &Map::new(), view),
            (None, Some(Value::Array(after))) if !after.is_empty() => self.arrays(&[], after, view),
            (Some(Value::Array(before)), None) if !before.is_empty() => self.arrays(before, &[], view),
            (Some(before), Some(after)) if is_nested(before) || is_nested(after) => {
                self.values(Some(before), None, view);
                self.values(None, Some(after), view);
            }
            (before, after) => self.note(before, after, view),
        }
    }

    fn objects(&mut self, before: &Map<String, Value>, after: &Map<String, Value>, view: View) {
        let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for key in keys {
            let length = self.path.len();
            push_key(&mut self.path, key);
            self.values(before.get(key), after.get(key), view.of_field(key));
            self.path.truncate(length);
        }
    }

    /// Elements that all have names of their own belong together by name, others by place.
    fn arrays(&mut self, before: &[Value], after: &[Value], view: View) {
        if let (Some(before), Some(after)) = (by_name(before), by_name(after)) {
            let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
            for name in names {
                let (before, after) = (before.get(name).copied(), after.get(name).copied());
                self.element(name, before, after, view.of_named(name));
            }
            return;
        }
        for index in 0..before.len().max(after.len()) {
            let announced = index > 0 && [before, after].iter().any(|list| redact::announces(list.get(index - 1)));
            let view = view.of_element(announced);
            self.element(&index.to_string(), before.get(index), after.get(index), view);
        }
    }

    fn element(&mut self, name: &str, before: Option<&Value>, after: Option<&Value>, view: View) {
        let length = self.path.len();
        self.path.push('[');
        self.path.push_str(name);
        self.path.push(']');
        self.values(before, after, view);
        self.path.truncate(length);
    }

    fn note(&mut self, before: Option<&Value>, after: Option<&Value>, view: View) {
        if self.room == 0 {
            self.diff.more += 1;
            return;
        }
        let hidden = [before, after].into_iter().flatten().any(|value| view.hides(value));
        let kept = |value: Option<&Value>| value.map(|value| if hidden { REDACTED.into() } else { shown(value) });
        let change = Change { path: cut(&self.path, MAX_PATH), before: kept(before), after: kept(after) };
        let size = serde_json::to_vec(&change).map_or(ROOM, |json| json.len() + 1);
        if size > self.room {
            // What comes later may be shorter, but a list with holes would mislead.
            self.room = 0;
            self.diff.more += 1;
            return;
        }
        self.room -= size;
        self.diff.changes.push(change);
    }
}

fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        _ => false,
    }
}

/// The elements by their `name`, if each has one and no two the same.
fn by_name(elements: &[Value]) -> Option<BTreeMap<&str, &Value>> {
    let named = elements.iter().map(|element| Some((element.get("name")?.as_str()?, element)));
    let named: BTreeMap<_, _> = named.collect::<Option<_>>()?;
    (named.len() == elements.len()).then_some(named)
}

fn push_key(path: &mut String, key: &str) {
    if key.contains(['.', '[', ']', '"', '/']) || key.is_empty() {
        path.push_str("[\"");
        path.push_str(key);
        path.push_str("\"]");
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

/// A value as a row keeps it: no fraction, no `null`, not endless.
fn shown(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => number.to_string().into(),
        Value::String(text) => cut(text, MAX_TEXT).into(),
        other => other.clone(),
    }
}

fn cut(text: &str, most: usize) -> String {
    let mut characters = text.chars();
    let mut cut: String = characters.by_ref().take(most).collect();
    if characters.next().is_some() {
        cut.push('…');
    }
    cut
}
