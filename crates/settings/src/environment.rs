//! The environment as a layer of settings.
//!
//! Must not know: files.

use std::collections::BTreeMap;

/// The process's environment, sorted by name. The only place where it is read; variables that are not UTF-8 are
/// left out.
#[must_use]
pub fn process_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// One variable that sets one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Override<'a> {
    pub(crate) variable: &'a str,
    pub(crate) key: String,
    pub(crate) value: &'a str,
}

/// Which keys the environment sets: aliases first, so that the prefixed form wins over them.
pub(crate) fn overrides<'a>(
    environment: &'a BTreeMap<String, String>,
    prefix: &str,
    aliases: &'a [(String, String)],
) -> Vec<Override<'a>> {
    let aliased = aliases.iter().filter_map(|(variable, key)| {
        let value = environment.get(variable)?;
        Some(Override { variable, key: key.clone(), value })
    });
    let start = format!("{prefix}__");
    let prefixed = environment.iter().filter_map(|(variable, value)| {
        let rest = variable.strip_prefix(&start)?;
        Some(Override { variable, key: rest.to_lowercase().replace("__", "."), value })
    });
    let set: Vec<_> = if prefix.is_empty() { aliased.collect() } else { aliased.chain(prefixed).collect() };
    set.into_iter().filter(|one| !one.value.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixed_variables_come_last_and_empty_ones_not_at_all() {
        let environment: BTreeMap<String, String> =
            [("F__SERVER__HTTP_PORT", "1"), ("DSN", "x"), ("F__EMPTY", ""), ("F_AGENT__A", "2"), ("OTHER", "3")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let aliases = [("DSN".to_owned(), "database.url".to_owned())];
        let found: Vec<_> =
            overrides(&environment, "F", &aliases).into_iter().map(|one| (one.key, one.value)).collect();
        assert_eq!(found, [("database.url".to_owned(), "x"), ("server.http_port".to_owned(), "1")]);
    }
}
