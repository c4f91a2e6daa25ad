//! Bodies of `/api/sessions`, `/api/api-keys` and `/api/tickets`: the ways in that a person can see and end.
//!
//! Must not know: how any of them is checked or kept. Secrets are `String` because serde must write them, and no type
//! here that holds one implements `Debug`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{ApiKeyId, SessionId, UserId};
use crate::time::Timestamp;

/// `GET /api/sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionList {
    /// Newest first.
    pub sessions: Vec<SessionView>,
}

/// One sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// The session.
    pub id: SessionId,
    /// `browser` (a cookie) or `token` (a command line with tokens).
    pub kind: String,
    /// `User-Agent` at sign-in.
    pub user_agent: String,
    /// Address at sign-in.
    pub address: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last used, to about a minute.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen: Timestamp,
    /// When it ends, used or not.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// Answer to `POST /auth/login` when a cookie was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CookieResponse {
    /// The account.
    pub id: UserId,
    /// Its name.
    pub email: String,
    /// When the session ends, used or not.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Whether the password was set by somebody else and should be changed (`POST /auth/password`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub password_change_required: bool,
}

/// `POST /api/api-keys`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyCreate {
    /// What it is for, 1 to 100 characters.
    pub name: String,
    /// What it may be used for, never more than its owner may: `*` (all that), `<noun>:read`, `<noun>:write`
    /// (`secrets:read`, `templates:write` ...), `k8s:<cluster pattern>[:<verbs>]` (`k8s:dev-*:get,list,watch`).
    pub scopes: Vec<String>,
    /// Days until it ends, 1 to 365; left out: it holds until it is revoked.
    #[serde(default, rename = "expiresInDays", alias = "expires_in_days", skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<u32>,
}

/// `PUT /api/api-keys/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyUpdate {
    /// What it is for, 1 to 100 characters.
    pub name: String,
    /// What it may be used for, as in [`ApiKeyCreate`].
    pub scopes: Vec<String>,
}

/// Answer to [`ApiKeyCreate`].
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyCreated {
    /// The key itself, shown this once: `sk_live_...`. Send it as `Authorization: Bearer`.
    pub key: String,
    /// What is known of it from now on.
    #[serde(rename = "apiKey")]
    pub api_key: ApiKeyView,
}

/// `GET /api/api-keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyList {
    /// The caller's, newest first.
    #[serde(rename = "apiKeys")]
    pub api_keys: Vec<ApiKeyView>,
}

/// One key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyView {
    /// The key.
    pub id: ApiKeyId,
    /// What it is for.
    pub name: String,
    /// How it begins, to tell it from others.
    pub prefix: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to about a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
}

/// `POST /api/tickets`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TicketRequest {
    /// The one path, without query, that the ticket opens.
    pub path: String,
}

/// Answer to [`TicketRequest`].
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TicketResponse {
    /// Give it once, as `?ticket=`, with a GET of that path.
    pub ticket: String,
    /// When it ends if it is not used: 30 s from now.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}
