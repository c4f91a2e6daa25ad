//! Our own credentials at an API server, beside client certificates, which are TLS's.
//!
//! Must not know: where the API server is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use flotilla_settings::Secret;
use http::header::HeaderValue;
use parking_lot::Mutex;

use crate::error::UpstreamError;
use crate::renewed::Renewed;

/// How long a token read from a file is used before the file is read again. Service account tokens are renewed by
/// the kubelet long before they end; client-go uses a minute too.
pub(crate) const TOKEN_FILE_TTL: Duration = Duration::from_secs(60);

/// What goes into `Authorization`.
#[derive(Clone)]
pub(crate) enum Credentials {
    /// Nothing; a client certificate speaks for us.
    None,
    /// Always the same.
    Fixed(HeaderValue),
    /// A token that somebody else renews.
    File(Arc<TokenFile>),
    /// A token that we renew.
    Renewed(Arc<Renewed>),
}

impl Credentials {
    /// A bearer token.
    pub(crate) fn bearer(token: &Secret) -> Result<Self, UpstreamError> {
        bearer(token.expose()).map(Self::Fixed)
    }

    /// RFC 7617.
    pub(crate) fn basic(user: &str, password: &Secret) -> Result<Self, UpstreamError> {
        let pair = Secret::from(format!("{user}:{}", password.expose()));
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair.expose());
        sensitive(&format!("Basic {encoded}")).map(Self::Fixed)
    }

    /// A file with a bearer token.
    pub(crate) fn file(path: PathBuf, ttl: Duration) -> Self {
        Self::File(Arc::new(TokenFile { path, ttl, cached: Mutex::new(None) }))
    }

    /// The value of `Authorization`, if there is to be one.
    pub(crate) async fn header(&self) -> Result<Option<HeaderValue>, UpstreamError> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(value) => Ok(Some(value.clone())),
            Self::File(file) => file.header().await.map(Some),
            Self::Renewed(token) => token.header().await.map(Some),
        }
    }

    /// The API server did not accept the credentials: whatever can be read again is read again next time.
    pub(crate) fn refused(&self) {
        match self {
            Self::File(file) => {
                if let Some(cached) = file.cached.lock().as_mut() {
                    cached.stale = true;
                }
            }
            Self::Renewed(token) => token.refused(),
            Self::None | Self::Fixed(_) => {}
        }
    }
}

/// A token file and what was in it.
pub(crate) struct TokenFile {
    path: PathBuf,
    ttl: Duration,
    cached: Mutex<Option<Cached>>,
}

struct Cached {
    value: HeaderValue,
    read_at: Instant,
    stale: bool,
}

impl TokenFile {
    async fn header(&self) -> Result<HeaderValue, UpstreamError> {
        let fresh = |cached: &&Cached| !cached.stale && cached.read_at.elapsed() < self.ttl;
        if let Some(cached) = self.cached.lock().as_ref().filter(fresh) {
            return Ok(cached.value.clone());
        }
        let read = self.read().await;
        let mut cached = self.cached.lock();
        let value = match (read, cached.as_ref()) {
            (Ok(value), _) => value,
            // The file may be away for a moment while it is replaced; the old token is still the best there is.
            (Err(error), Some(old)) => {
                tracing::warn!(%error, "using the token read earlier");
                old.value.clone()
            }
            (Err(error), None) => return Err(error),
        };
        *cached = Some(Cached { value: value.clone(), read_at: Instant::now(), stale: false });
        Ok(value)
    }

    async fn read(&self) -> Result<HeaderValue, UpstreamError> {
        let path = self.path.display();
        let text = tokio::fs::read_to_string(&self.path)
            .await
            .map_err(|error| UpstreamError::credentials(format!("cannot read the token file {path}: {error}")))?;
        match text.trim() {
            "" => Err(UpstreamError::credentials(format!("the token file {path} is empty"))),
            token => bearer(token),
        }
    }
}

pub(crate) fn bearer(token: &str) -> Result<HeaderValue, UpstreamError> {
    sensitive(&format!("Bearer {token}"))
}

pub(crate) fn sensitive(text: &str) -> Result<HeaderValue, UpstreamError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        UpstreamError::credentials("token, user name or password has characters that HTTP headers cannot carry")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn token_files_are_read_again_and_outlive_a_moment_without_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let credentials = Credentials::file(path.clone(), Duration::from_millis(40));
        assert!(matches!(credentials.header().await, Err(UpstreamError::Credentials { .. })));

        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(credentials.header().await.unwrap().unwrap(), "Bearer one");
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(credentials.header().await.unwrap().unwrap(), "Bearer one");
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(credentials.header().await.unwrap().unwrap(), "Bearer two");

        std::fs::remove_file(&path).unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(credentials.header().await.unwrap().unwrap(), "Bearer two");
    }

    #[tokio::test]
    async fn a_refused_token_is_read_again_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let credentials = Credentials::file(path.clone(), TOKEN_FILE_TTL);
        assert_eq!(credentials.header().await.unwrap().unwrap(), "Bearer one");
        std::fs::write(&path, "two").unwrap();
        credentials.refused();
        assert_eq!(credentials.header().await.unwrap().unwrap(), "Bearer two");
    }

    #[tokio::test]
    async fn basic_and_bearer() {
        let basic = Credentials::basic("admin", &"pass".to_owned().into()).unwrap().header().await.unwrap().unwrap();
        assert_eq!(basic, "Basic YWRtaW46cGFzcw==");
        assert!(basic.is_sensitive());
        assert!(Credentials::bearer(&"a\nb".to_owned().into()).is_err());
    }
}
