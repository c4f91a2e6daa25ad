//! Layers together, and the one place where they become a typed value.
//!
//! Must not know: any program's keys.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::environment::overrides;
use crate::error::{Origin, Problem, SettingsError};
use crate::expand::expand;
use crate::{known, path};

/// Where settings come from. Nothing is read before [`load`].
#[derive(Clone, Debug, Default)]
pub struct Source {
    file: Option<(PathBuf, bool)>,
    prefix: String,
    aliases: Vec<(String, String)>,
    environment: BTreeMap<String, String>,
}

impl Source {
    /// Built-in values only, until told of more.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file that somebody asked for: it must exist.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some((path.into(), true));
        self
    }

    /// A file in its usual place: it may be missing.
    #[must_use]
    pub fn optional_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some((path.into(), false));
        self
    }

    /// Makes `PREFIX__A__B` set the key `a.b`. `prefix` is without its underscores.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Makes one variable set one key, for example `DATABASE_DSN` set `database.url`. The prefixed form wins.
    #[must_use]
    pub fn alias(mut self, variable: impl Into<String>, key: impl Into<String>) -> Self {
        self.aliases.push((variable.into(), key.into()));
        self
    }

    /// The environment to use, most often [`process_environment`](crate::process_environment).
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment = variables.into_iter().collect();
        self
    }
}

/// Loads settings: `T::default()`, then the file, then the environment. `T` should be `#[serde(default)]` at every
/// level, so that a table may name only some of its keys; the keys that exist are those of `T::default()`.
///
/// # Errors
/// [`SettingsError`]; its text is for the person who wrote the settings and names every unknown key at once.
pub fn load<T: Serialize + DeserializeOwned + Default>(source: &Source) -> Result<T, SettingsError> {
    let defaults = serde_json::to_value(T::default()).map_err(SettingsError::Defaults)?;
    let mut layers = Layers::read(source)?;
    path::drop_nulls(&mut layers.tree, &defaults);
    layers.finish(&defaults)
}

/// The file and the environment, merged, with a memory of where each value was written.
struct Layers<'a> {
    tree: Map<String, Value>,
    file: Option<&'a Path>,
    variables: HashMap<String, &'a str>,
    /// Texts out of the environment. Whether `8081` is a number is for the target type to say, so each is offered
    /// as a string first and, if that is refused, as what YAML makes of it.
    texts: HashMap<String, String>,
}

impl<'a> Layers<'a> {
    fn read(source: &'a Source) -> Result<Self, SettingsError> {
        let file = source.file.as_ref().map(|(path, _)| path.as_path());
        let tree = match &source.file {
            Some((path, required)) => read_file(path, *required)?,
            None => Map::new(),
        };
        let mut layers = Self { tree, file, variables: HashMap::new(), texts: HashMap::new() };
        layers.expand(&source.environment)?;
        for one in overrides(&source.environment, &source.prefix, &source.aliases) {
            path::set(&mut layers.tree, &one.key, Value::String(one.value.to_owned()));
            layers.texts.insert(one.key.clone(), one.value.to_owned());
            layers.variables.insert(one.key, one.variable);
        }
        Ok(layers)
    }

    fn expand(&mut self, environment: &BTreeMap<String, String>) -> Result<(), SettingsError> {
        let mut tree = Value::Object(std::mem::take(&mut self.tree));
        let mut problems = Vec::new();
        path::for_each_leaf(&mut tree, "", &mut |key, value| {
            let Value::String(text) = value else { return };
            match expand(text, environment) {
                Ok(None) => {}
                Ok(Some(expanded)) => {
                    self.texts.insert(key.to_owned(), expanded.clone());
                    *text = expanded;
                }
                Err(reason) => problems.push(self.problem(key, format!("`{key}` {reason}"))),
            }
        });
        if let Value::Object(map) = tree {
            self.tree = map;
        }
        if problems.is_empty() { Ok(()) } else { Err(SettingsError::Invalid(problems)) }
    }

    /// Who set a key: the variable that names it or a table around it, otherwise the file.
    fn origin(&self, key: &str) -> Origin<'_> {
        let variable = self.variables.iter().find(|(set, _)| {
            let under = |long: &str, short: &str| {
                long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            };
            under(key, set) || (under(set, key) && self.file.is_none())
        });
        match (variable, self.file) {
            (Some((_, variable)), _) => Origin::Variable(variable),
            (None, Some(file)) => Origin::File(file),
            (None, None) => Origin::BuiltIn,
        }
    }

    fn problem(&self, key: &str, message: String) -> Problem {
        Problem { origin: self.origin(key).to_string(), key: key.to_owned(), message }
    }

    fn finish<T: DeserializeOwned>(mut self, defaults: &Value) -> Result<T, SettingsError> {
        loop {
            let tree = Value::Object(self.tree.clone());
            let mut ignored = Vec::new();
            let mut note = |path: serde_ignored::Path<'_>| ignored.push(path::of_ignored(&path));
            let result: Result<T, _> =
                serde_path_to_error::deserialize(serde_ignored::Deserializer::new(&tree, &mut note));
            let known = known::key_paths(defaults);
            let mut problems: Vec<_> =
                ignored.iter().map(|key| self.problem(key, known::unknown(key, &known))).collect();
            match result {
                Ok(value) if problems.is_empty() => return Ok(value),
                Ok(_) => return Err(SettingsError::Invalid(problems)),
                Err(error) => {
                    let key = path::of_error(error.path());
                    if self.retry_as_yaml(&key) {
                        continue;
                    }
                    let message = explain(&key, &error.into_inner().to_string(), &known);
                    problems.push(self.problem(&key, message));
                    return Err(SettingsError::Invalid(problems));
                }
            }
        }
    }

    /// Puts what YAML makes of a text in the text's place. False when there is no such text or it is only a text.
    fn retry_as_yaml(&mut self, key: &str) -> bool {
        let Some(value) = self.texts.remove(key).and_then(|text| yaml_scalar(&text)) else {
            return false;
        };
        let mut tree = Value::Object(std::mem::take(&mut self.tree));
        let mut value = Some(value);
        path::for_each_leaf(&mut tree, "", &mut |path, leaf| {
            if path == key
                && let Some(value) = value.take()
            {
                *leaf = value;
            }
        });
        if let Value::Object(map) = tree {
            self.tree = map;
        }
        true
    }
}

fn read_file(path: &Path, required: bool) -> Result<Map<String, Value>, SettingsError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => {
            return Ok(Map::new());
        }
        Err(source) => {
            return Err(SettingsError::Read { path: path.to_owned(), source });
        }
    };
    let syntax = |message: String| SettingsError::Syntax { path: path.to_owned(), message };
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Map::new());
    }
    // Without snippets: they would print the neighbourhood of the mistake, secrets included.
    let options = serde_saphyr::options! { with_snippet: false };
    match serde_saphyr::from_str_with_options::<Value>(&text, options).map_err(|error| syntax(error.to_string()))? {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(syntax("it must be a table of keys, one `key: value` a line".to_owned())),
    }
}

/// What YAML makes of a variable's text when that is not simply a string.
fn yaml_scalar(text: &str) -> Option<Value> {
    let value = serde_saphyr::from_str::<Value>(text).ok()?;
    let flow = text.trim_start().starts_with(['[', '{']);
    match value {
        Value::String(_) => None,
        Value::Array(_) | Value::Object(_) if !flow => None,
        value => Some(value),
    }
}

/// A serde message in plain words. A wrong type is told without the value, which may be a secret.
fn explain(key: &str, message: &str, known: &[String]) -> String {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let field = rest.split('`').next().unwrap_or_default();
        let inside = path::split_last(key).1 != field;
        return known::unknown(&if inside { path::child(key, field) } else { key.to_owned() }, known);
    }
    let Some((found, expected)) =
        message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "))
    else {
        return format!("`{key}` is not valid: {message}");
    };
    let found = found_in_words(found);
    let hint = match (expected, found) {
        ("a string", "a number" | "true or false") => "; put it in quotes",
        _ => "",
    };
    format!("`{key}` must be {}, but is {found}{hint}", in_words(expected))
}

/// What serde found (the texts of `serde::de::Unexpected`), without the value.
fn found_in_words(unexpected: &str) -> &'static str {
    match unexpected.split(' ').next().unwrap_or_default() {
        "boolean" => "true or false",
        "integer" | "floating" => "a number",
        "string" | "character" => "a string",
        "sequence" => "a list",
        "map" => "a table of keys",
        _ => "nothing",
    }
}

fn in_words(expected: &str) -> String {
    let words = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" | "u128" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" | "i128" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        other if other.starts_with("struct ") || other == "a map" => "a table of keys",
        other => other,
    };
    words.to_owned()
}
