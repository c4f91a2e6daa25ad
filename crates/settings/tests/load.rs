//! Loading as programs do it: files, environment, and the texts that people get to read.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use flotilla_settings::{Secret, SettingsError, Source, load};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    server: Server,
    database: Database,
    roles: Vec<Role>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
struct Server {
    http_port: u16,
    tls: bool,
    names: Vec<String>,
    format: Format,
}

impl Default for Server {
    fn default() -> Self {
        Self { http_port: 8080, tls: true, names: Vec::new(), format: Format::Text }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Database {
    url: String,
    password: Option<Secret>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Role {
    name: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Text,
    Json,
}

fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn source(environment: &[(&str, &str)]) -> Source {
    Source::new().prefix("FLOTILLA").alias("DATABASE_DSN", "database.url").environment(variables(environment))
}

struct Written {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn written(yaml: &str) -> Written {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("central.yaml");
    std::fs::write(&path, yaml).unwrap();
    Written { _directory: directory, path }
}

fn from_file(yaml: &str, environment: &[(&str, &str)]) -> Result<Config, SettingsError> {
    let file = written(yaml);
    load(&source(environment).file(&file.path))
}

/// The message with the file's directory cut out.
fn message(yaml: &str, environment: &[(&str, &str)]) -> String {
    let file = written(yaml);
    let error = load::<Config>(&source(environment).file(&file.path)).unwrap_err();
    error.to_string().replace(&format!("{}/", file.path.parent().unwrap().display()), "")
}

#[test]
fn built_in_values_when_there_is_nothing() {
    let config: Config = load(&source(&[]).optional_file("/nonexistent/central.yaml")).unwrap();
    assert_eq!(config.server.http_port, 8080);
}

#[test]
fn a_file_that_was_asked_for_must_exist() {
    let error = load::<Config>(&source(&[]).file("/nonexistent/central.yaml")).unwrap_err();
    assert!(error.to_string().starts_with("cannot read the configuration file /nonexistent/central.yaml: "), "{error}");
}

#[test]
fn file_then_alias_then_prefixed_variable() {
    let yaml = "server:\n  http_port: 9000\ndatabase:\n  url: file\n";
    assert_eq!(from_file(yaml, &[]).unwrap().server.http_port, 9000);
    let config = from_file(yaml, &[("DATABASE_DSN", "alias"), ("FLOTILLA__SERVER__HTTP_PORT", "8081")]).unwrap();
    assert_eq!((config.database.url.as_str(), config.server.http_port), ("alias", 8081));
    let config = from_file(yaml, &[("DATABASE_DSN", "alias"), ("FLOTILLA__DATABASE__URL", "prefixed")]).unwrap();
    assert_eq!(config.database.url, "prefixed");
}

#[test]
fn variables_take_the_type_of_their_key() {
    let config = from_file(
        "",
        &[
            ("FLOTILLA__SERVER__TLS", "false"),
            ("FLOTILLA__SERVER__NAMES", "[a, b]"),
            ("FLOTILLA__SERVER__FORMAT", "json"),
            ("FLOTILLA__DATABASE__URL", "0123"),
            ("FLOTILLA__DATABASE__PASSWORD", "12345"),
        ],
    )
    .unwrap();
    assert!(!config.server.tls);
    assert_eq!(config.server.names, ["a", "b"]);
    assert_eq!(config.server.format, Format::Json);
    assert_eq!(config.database.url, "0123");
    assert_eq!(config.database.password.unwrap().expose(), "12345");
}

#[test]
fn references_are_expanded_in_file_values_of_every_type() {
    let yaml = "server: {http_port: '${PORT}', names: ['x-${NAME}', '$${NAME}']}\ndatabase: {password: '${PW}'}\n";
    let config = from_file(yaml, &[("PORT", "7000"), ("NAME", "n"), ("PW", "a: [b")]).unwrap();
    assert_eq!(config.server.http_port, 7000);
    assert_eq!(config.server.names, ["x-n", "${NAME}"]);
    assert_eq!(config.database.password.unwrap().expose(), "a: [b");
}

#[test]
fn tables_with_nothing_in_them_and_empty_files_are_fine() {
    for yaml in ["", "# only words\n", "server:\ndatabase:\n  # url: x\n", "---\n", "server: {tls: ~}"] {
        assert_eq!(from_file(yaml, &[]).unwrap().server.http_port, 8080, "{yaml:?}");
    }
}

#[test]
fn unknown_keys_are_named_all_at_once_with_the_nearest() {
    assert_eq!(
        message("server: {htp_port: 1}\ndatabse: {url: x}\nroles: [{nme: x}]\n", &[]),
        "central.yaml: unknown key `server.htp_port`; did you mean `server.http_port`?\n\
         central.yaml: unknown key `databse`; did you mean `database`?\n\
         central.yaml: unknown key `roles[0].nme`"
    );
    assert_eq!(
        message("", &[("FLOTILLA__SERVER__HTTPPORT", "1")]),
        "environment variable FLOTILLA__SERVER__HTTPPORT: unknown key `server.httpport`; did you mean `server.http_port`?"
    );
    assert_eq!(message("servr:\n", &[]), "central.yaml: unknown key `servr`; did you mean `server`?");
}

#[test]
fn wrong_types_are_told_without_the_value() {
    let cases = [
        (
            "server: {http_port: s3cret}",
            "central.yaml: `server.http_port` must be a whole number from 0 to 65535, but is a string",
        ),
        ("server: {tls: 1}", "central.yaml: `server.tls` must be true or false, but is a number"),
        ("labels: {a.b/c: 1}", "central.yaml: `labels.a.b/c` must be a string, but is a number; put it in quotes"),
        ("server: 5", "central.yaml: `server` must be a table of keys, but is a number"),
        ("server: {names: x}", "central.yaml: `server.names` must be a list, but is a string"),
        ("server: {names: [[]]}", "central.yaml: `server.names[0]` must be a string, but is a list"),
        (
            "database: {password: 12345}",
            "central.yaml: `database.password` must be a string, but is a number; put it in quotes",
        ),
        (
            "roles: [{name: a}, {name: true}]",
            "central.yaml: `roles[1].name` must be a string, but is true or false; put it in quotes",
        ),
    ];
    for (yaml, want) in cases {
        assert_eq!(message(yaml, &[]), want, "{yaml}");
    }
}

#[test]
fn wrong_values_say_what_is_allowed() {
    let text = message("server: {http_port: 70000}", &[]);
    assert!(text.starts_with("central.yaml: `server.http_port` is not valid: ") && text.contains("70000"), "{text}");
    let text = message("server: {format: jsn}", &[]);
    assert!(text.contains("`server.format`") && text.contains("`text` or `json`"), "{text}");
    let text = message("", &[("FLOTILLA__SERVER__HTTP_PORT", "eighty")]);
    assert_eq!(
        text,
        "environment variable FLOTILLA__SERVER__HTTP_PORT: `server.http_port` must be a whole number from 0 to 65535, but is a string"
    );
}

#[test]
fn unset_references_name_variable_and_key() {
    let text = message("database: {url: 'postgres://u:${PGPASSWORD}@h/db'}", &[]);
    assert!(
        text.starts_with(
            "central.yaml: `database.url` refers to the environment variable PGPASSWORD, which is not set"
        ),
        "{text}"
    );
}

#[test]
fn broken_yaml_is_told_with_its_place_and_without_its_neighbourhood() {
    for yaml in ["database:\n  password: hunter2\n  url: [\n", "- a\n- b\n", "a: 1\na: 2\n", "server: &x {tls: *y}"] {
        let text = message(yaml, &[]);
        assert!(text.starts_with("the configuration file central.yaml is not valid YAML: "), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(message("server:\n  tls: [\n", &[]).contains("line"), "{}", message("server:\n  tls: [\n", &[]));
}

#[test]
fn secrets_are_never_printed() {
    let config = from_file("database: {password: hunter2}", &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"));
}
