//! Tokens that end: fetched when they are first needed, renewed ahead of their end, by one fetch at a time.
//!
//! A request never waits for a renewal while the token that it has still holds, and a fetch goes on when the request
//! that began it goes away: what it brings (a rotated refresh token, for one) may not be had twice.
//!
//! Must not know: where tokens come from.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::HeaderValue;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::UpstreamError;

/// For one fetch.
const DEADLINE: Duration = Duration::from_secs(20);
/// After a fetch that failed, how long its error is the answer.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// A token younger than this that the API server refuses is not fetched again: the next one would be refused, too.
const REFUSED_TOO_SOON: Duration = Duration::from_secs(10);

/// A value of `Authorization` and how long it holds.
pub(crate) struct Token {
    pub(crate) value: HeaderValue,
    pub(crate) lives: Duration,
}

/// Where tokens come from.
pub(crate) trait TokenSource: Send + Sync + 'static {
    /// A new token.
    fn fetch(&self) -> BoxFuture<'_, Result<Token, UpstreamError>>;
}

/// The token that holds now.
pub(crate) struct Renewed {
    source: Box<dyn TokenSource>,
    state: Mutex<State>,
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// How many fetches have ended, so that whoever waited for one knows.
    fetches: u64,
    failed: Option<(Instant, String)>,
}

#[derive(Clone)]
struct Held {
    value: HeaderValue,
    fetched_at: Instant,
    renew_at: Instant,
    ends_at: Instant,
}

impl Renewed {
    pub(crate) fn new(source: impl TokenSource) -> Arc<Self> {
        Arc::new(Self { source: Box::new(source), state: Mutex::default(), flight: tokio::sync::Mutex::default() })
    }

    /// The value of `Authorization`.
    pub(crate) async fn header(self: &Arc<Self>) -> Result<HeaderValue, UpstreamError> {
        let (held, fetches) = {
            let state = self.state.lock();
            (state.held.clone(), state.fetches)
        };
        let now = Instant::now();
        let holds = held.filter(|held| now < held.ends_at);
        if let Some(held) = &holds
            && (now < held.renew_at || self.flight.try_lock().is_err())
        {
            return Ok(held.value.clone());
        }
        let fetch = tokio::spawn(Arc::clone(self).fetch(fetches));
        match holds {
            Some(held) => Ok(held.value),
            None => fetch.await.map_err(|_| UpstreamError::credentials("the fetch of a new token was cut off"))?,
        }
    }

    /// The API server did not accept the token: a new one is fetched for the next request.
    pub(crate) fn refused(&self) {
        let mut state = self.state.lock();
        if state.held.as_ref().is_some_and(|held| held.fetched_at.elapsed() >= REFUSED_TOO_SOON) {
            state.held = None;
        }
    }

    /// Fetches, unless somebody else has since `seen` was counted.
    async fn fetch(self: Arc<Self>, seen: u64) -> Result<HeaderValue, UpstreamError> {
        let _alone = self.flight.lock().await;
        if let Some(answer) = self.state.lock().answer_since(seen) {
            return answer;
        }
        let fetched = tokio::time::timeout(DEADLINE, self.source.fetch()).await.unwrap_or_else(|_| {
            Err(UpstreamError::credentials(format!("no new token within {} s", DEADLINE.as_secs())))
        });
        let now = Instant::now();
        let mut state = self.state.lock();
        state.fetches += 1;
        match fetched {
            Ok(token) => {
                // The last tenth is for the way there and for clocks that differ.
                let (renew_at, ends_at) = (now + token.lives * 3 / 4, now + token.lives * 9 / 10);
                state.held = Some(Held { value: token.value.clone(), fetched_at: now, renew_at, ends_at });
                state.failed = None;
                Ok(token.value)
            }
            Err(error) => {
                tracing::warn!(%error, "no new token for an API server");
                state.failed = Some((now, error.detail()));
                // Not sooner again than after a while, also when the token still holds.
                if let Some(held) = &mut state.held {
                    held.renew_at = now + RETRY_AFTER;
                }
                Err(error)
            }
        }
    }
}

impl State {
    fn answer_since(&self, seen: u64) -> Option<Result<HeaderValue, UpstreamError>> {
        let failed = self.failed.as_ref().filter(|(at, _)| at.elapsed() < RETRY_AFTER);
        match (&self.held, failed) {
            (Some(held), None) if self.fetches > seen => Some(Ok(held.value.clone())),
            (None, Some((_, detail))) => Some(Err(UpstreamError::credentials(detail.clone()))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use futures_util::future::{join_all, select};

    use super::*;

    /// Gives `Bearer 1`, `Bearer 2` ... after 100 ms.
    #[derive(Clone, Default)]
    struct Counter(Arc<(AtomicUsize, AtomicBool)>);

    impl Counter {
        fn fetches(&self) -> usize {
            self.0.0.load(Ordering::SeqCst)
        }
        fn fail(&self, fail: bool) {
            self.0.1.store(fail, Ordering::SeqCst);
        }
    }

    impl TokenSource for Counter {
        fn fetch(&self) -> BoxFuture<'_, Result<Token, UpstreamError>> {
            Box::pin(async move {
                let number = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
                if self.0.1.load(Ordering::SeqCst) {
                    return Err(UpstreamError::credentials("the issuer is away"));
                }
                let value = HeaderValue::from_str(&format!("Bearer {number}")).unwrap();
                Ok(Token { value, lives: Duration::from_secs(100) })
            })
        }
    }

    fn renewed() -> (Counter, Arc<Renewed>) {
        let counter = Counter::default();
        (counter.clone(), Renewed::new(counter))
    }

    async fn advance(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_wait_cause_one_fetch() {
        let (counter, token) = renewed();
        let all = join_all((0..50).map(|_| token.header())).await;
        assert!(all.into_iter().all(|value| value.unwrap() == "Bearer 1"));
        assert_eq!(counter.fetches(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn renewed_ahead_of_its_end_without_a_wait() {
        let (counter, token) = renewed();
        token.header().await.unwrap();
        advance(74).await;
        assert_eq!(token.header().await.unwrap(), "Bearer 1");
        assert_eq!(counter.fetches(), 1);
        advance(2).await;
        let asked = Instant::now();
        let all = join_all((0..50).map(|_| token.header())).await;
        assert!(all.into_iter().all(|value| value.unwrap() == "Bearer 1"));
        assert_eq!(asked.elapsed(), Duration::ZERO, "nobody waits while the old one holds");
        advance(1).await;
        assert_eq!((token.header().await.unwrap(), counter.fetches()), (HeaderValue::from_static("Bearer 2"), 2));
        advance(95).await;
        assert_eq!(token.header().await.unwrap(), "Bearer 3", "one that has ended is never given out");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_not_repeated_for_each_request_and_the_old_token_serves_on() {
        let (counter, token) = renewed();
        counter.fail(true);
        for _ in 0..10 {
            assert!(token.header().await.unwrap_err().to_string().contains("the issuer is away"));
        }
        assert_eq!(counter.fetches(), 1);
        counter.fail(false);
        advance(3).await;
        assert_eq!(token.header().await.unwrap(), "Bearer 2");
        counter.fail(true);
        advance(80).await;
        assert_eq!(token.header().await.unwrap(), "Bearer 2");
        advance(1).await;
        assert_eq!(token.header().await.unwrap(), "Bearer 2");
        assert_eq!(counter.fetches(), 3);
        advance(20).await;
        assert!(token.header().await.is_err(), "it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_outlives_the_request_that_began_it() {
        let (counter, token) = renewed();
        let impatient = tokio::time::sleep(Duration::from_millis(10));
        select(Box::pin(token.header()), Box::pin(impatient)).await;
        advance(1).await;
        assert_eq!((token.header().await.unwrap(), counter.fetches()), (HeaderValue::from_static("Bearer 1"), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_fetched_again_but_not_over_and_over() {
        let (counter, token) = renewed();
        token.header().await.unwrap();
        token.refused();
        assert_eq!((token.header().await.unwrap(), counter.fetches()), (HeaderValue::from_static("Bearer 1"), 1));
        advance(11).await;
        token.refused();
        assert_eq!(token.header().await.unwrap(), "Bearer 2");
    }
}
