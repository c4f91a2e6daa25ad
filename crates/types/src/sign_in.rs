//! Shapes of signing in with a browser, on another device and through other providers.
//!
//! Must not know: routes. As in [`crate::api`], no type that holds a secret implements `Debug`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /auth/config`: the ways to sign in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignInConfig {
    /// Elsewhere.
    pub providers: Vec<SignInWay>,
    /// With an account of the hub's own.
    pub password: bool,
    /// Without any proof, on this machine.
    pub developer: bool,
}

/// One way to sign in elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignInWay {
    /// `oidc`, `google` or `github`.
    pub name: String,
    /// For people.
    pub title: String,
    /// Where to send a browser; `return_to` may be added.
    pub url: String,
}

/// `POST /auth/oauth/exchange`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExchangeRequest {
    /// The code; good once, for 30 s.
    pub code: String,
    /// PKCE verifier, where the code was asked for with a challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_verifier: Option<String>,
    /// Where the code was sent, in the same case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
}

/// Answer to `POST /auth/device` (RFC 8628 section 3.2).
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceAuthorization {
    /// For the device alone.
    pub device_code: String,
    /// For the person to type.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: String,
    /// Seconds that both codes live.
    pub expires_in: u64,
    /// Seconds between two questions.
    pub interval: u64,
}

/// `POST /auth/device/token`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceTokenRequest {
    /// From [`DeviceAuthorization`].
    pub device_code: String,
}

/// Why a device has no tokens (RFC 8628 section 3.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceError {
    /// `authorization_pending`, `slow_down`, `access_denied` or `expired_token`.
    pub error: String,
}
