//! Keys of `auth.*` that say where people sign in.
//!
//! Must not know: how signing in works.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use flotilla_settings::Secret;
use serde::{Deserialize, Serialize};

use crate::config::Period;

/// An OpenID Connect provider. There is one when `issuer` is set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Oidc {
    /// What people read on the button.
    pub name: String,
    /// The issuer, exactly as the provider spells it.
    pub issuer: Option<String>,
    /// Client id.
    pub client_id: String,
    /// Client secret; left out for a public client.
    pub client_secret: Option<Secret>,
    /// Scopes beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that lists a person's groups: a name, or a path with dots.
    pub groups_claim: String,
    /// Group at the provider -> roles of the hub.
    pub roles: BTreeMap<String, Vec<String>>,
    /// How often the provider is asked whether a session still stands and which groups it has.
    pub refresh_interval: Period,
    /// CA of the provider's certificate, PEM, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Believe addresses that the provider does not mark as verified. Only for a provider where people cannot choose
    /// their address.
    pub trust_email: bool,
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            name: "single sign-on".to_owned(),
            issuer: None,
            client_id: String::new(),
            client_secret: None,
            scopes: vec!["profile".to_owned(), "email".to_owned()],
            groups_claim: "groups".to_owned(),
            roles: BTreeMap::new(),
            refresh_interval: Period(Duration::from_secs(300)),
            ca_file: None,
            trust_email: false,
        }
    }
}

/// Google. There is a way in when both are set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Google {
    /// Client id (`GOOGLE_CLIENT_ID`).
    pub client_id: Option<String>,
    /// Client secret (`GOOGLE_CLIENT_SECRET`).
    pub client_secret: Option<Secret>,
}

/// GitHub or GitHub Enterprise. There is a way in when id and secret are set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct GitHub {
    /// Client id (`GITHUB_CLIENT_ID`).
    pub client_id: Option<String>,
    /// Client secret (`GITHUB_CLIENT_SECRET`).
    pub client_secret: Option<Secret>,
    /// Where people sign in.
    pub base_url: String,
    /// The API; left out at GitHub Enterprise: `<base_url>/api/v3`.
    pub api_url: Option<String>,
}

impl Default for GitHub {
    fn default() -> Self {
        Self { client_id: None, client_secret: None, base_url: "https://github.com".to_owned(), api_url: None }
    }
}

/// Sign-in without any proof, for developing on one machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Developer {
    /// Let anyone on this machine in as `email`, without any proof. Refused unless the hub listens on loopback alone.
    pub enabled: bool,
    /// As whom.
    pub email: String,
    /// With which roles, when the account is made.
    pub roles: Vec<String>,
}

impl Default for Developer {
    fn default() -> Self {
        Self { enabled: false, email: "developer@localhost".to_owned(), roles: vec!["admin".to_owned()] }
    }
}
