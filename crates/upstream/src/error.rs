//! What can go wrong between us and an API server.
//!
//! Must not know: how an error is shown to a caller.

use std::error::Error as StdError;

use thiserror::Error;

use crate::connector::ConnectTimeout;

/// Why there is no answer from the API server, or no way to ask.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// No connection, or it ended before an answer came.
    #[error("the API server {server} cannot be reached: {detail}")]
    Unreachable {
        /// `https://host:port`.
        server: String,
        /// Why not.
        detail: String,
    },
    /// No trust: a certificate that does not verify, ours or theirs.
    #[error("no TLS connection to the API server {server}: {detail}")]
    Tls {
        /// `https://host:port`.
        server: String,
        /// Why not.
        detail: String,
    },
    /// No connection within the connect deadline.
    #[error("the API server {server} did not accept a connection within 10 s")]
    Timeout {
        /// `https://host:port`.
        server: String,
    },
    /// Our own credentials cannot be used.
    #[error("the credentials for the API server cannot be used: {detail}")]
    Credentials {
        /// What is wrong with them.
        detail: String,
    },
    /// A kubeconfig or a request that cannot be used as it is.
    #[error("{detail}")]
    Invalid {
        /// What is wrong and what to do.
        detail: String,
    },
}

impl UpstreamError {
    /// A stable word for metrics and logs.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Tls { .. } => "tls",
            Self::Timeout { .. } => "timeout",
            Self::Credentials { .. } => "credentials",
            Self::Invalid { .. } => "invalid",
        }
    }

    /// The text without what it is about.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Unreachable { detail, .. }
            | Self::Tls { detail, .. }
            | Self::Credentials { detail }
            | Self::Invalid { detail } => detail.clone(),
            Self::Timeout { .. } => "no connection within 10 s".to_owned(),
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid { detail: detail.into() }
    }

    pub(crate) fn credentials(detail: impl Into<String>) -> Self {
        Self::Credentials { detail: detail.into() }
    }

    /// Sorts what the HTTP client reports by its deepest known cause.
    pub(crate) fn from_client(server: &str, error: &hyper_util::client::legacy::Error) -> Self {
        let server = server.to_owned();
        if in_chain::<ConnectTimeout>(error).is_some() {
            return Self::Timeout { server };
        }
        if let Some(tls) = in_chain::<rustls::Error>(error) {
            return Self::Tls { server, detail: tls.to_string() };
        }
        Self::Unreachable { server, detail: deepest(error).to_string() }
    }
}

/// The first error of type `T` in the chain. An I/O error hides the error that it wraps from `source()`, so its
/// inside is looked at too.
fn in_chain<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    if let Some(found) = error.downcast_ref::<T>() {
        return Some(found);
    }
    let inner = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
    let next: Option<&(dyn StdError + 'static)> = match inner {
        Some(inner) => Some(inner),
        None => error.source(),
    };
    next.and_then(in_chain::<T>)
}

fn deepest<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    error.source().map_or(error, deepest)
}
