//! A document of the provider's that is fetched when it is needed and kept for a while.
//!
//! One fetch at a time; whoever else needs the document waits for that one. A provider that is away for a while
//! does not sign anybody out: what was fetched last stays good for a day.
//!
//! Must not know: what the document says.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::OidcError;

/// How often the provider is asked at the most. Whoever shows tokens with made-up key ids causes no more.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// How long a document that cannot be fetched again is still believed.
const STALE: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(super) struct Cached<T>(Mutex<Slot<T>>);

#[derive(Debug)]
struct Slot<T> {
    value: Option<(Arc<T>, Instant)>,
    tried: Option<Instant>,
}

impl<T> Cached<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Slot { value: None, tried: None }))
    }

    /// The document, at most `max_age` old where the provider allows it.
    pub(super) async fn get<F>(&self, max_age: Duration, fetch: impl FnOnce() -> F) -> Result<Arc<T>, OidcError>
    where
        F: Future<Output = Result<T, OidcError>>,
    {
        let mut slot = self.0.lock().await;
        let kept = slot.value.as_ref().map(|(value, since)| (Arc::clone(value), since.elapsed()));
        let asked_lately = slot.tried.is_some_and(|tried| tried.elapsed() < PAUSE);
        if let Some((value, age)) = &kept
            && (*age < max_age || asked_lately)
        {
            return Ok(Arc::clone(value));
        }
        slot.tried = Some(Instant::now());
        match fetch().await {
            Ok(value) => {
                let value = Arc::new(value);
                slot.value = Some((Arc::clone(&value), Instant::now()));
                Ok(value)
            }
            Err(error) => match kept {
                Some((value, age)) if age < STALE => Ok(value),
                _ => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn asks_once_and_lives_through_an_outage() {
        let cached = Cached::new();
        let refuse = || async { Err(OidcError::Answer("away")) };
        assert!(cached.get(Duration::MAX, refuse).await.is_err());
        assert_eq!(*cached.get(Duration::MAX, || async { Ok(1) }).await.unwrap(), 1);
        assert_eq!(*cached.get(Duration::MAX, || async { Ok(2) }).await.unwrap(), 1, "it is young enough");
        assert_eq!(*cached.get(Duration::ZERO, || async { Ok(2) }).await.unwrap(), 1, "it was asked a moment ago");
        cached.0.lock().await.tried = None;
        assert_eq!(*cached.get(Duration::ZERO, refuse).await.unwrap(), 1, "what is there is still good");
        cached.0.lock().await.tried = None;
        assert_eq!(*cached.get(Duration::ZERO, || async { Ok(3) }).await.unwrap(), 3);
    }
}
