//! One piece of work per key at a time: whoever asks while it runs gets the answer of the one that runs.
//!
//! For what must not be done twice at once, such as spending a refresh token at an identity provider, which ends the
//! session when it sees the token again. The work goes on when those who asked for it have left.
//!
//! Must not know: what the work is.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::watch;

/// The work panicked, so there is no answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the work broke off: try again")]
pub struct BrokeOff;

type Running<K, T> = Arc<Mutex<HashMap<K, watch::Receiver<Option<T>>>>>;

/// Work under way, by key. Cloning is cheap and shares it.
pub struct SingleFlight<K, T> {
    running: Running<K, T>,
}

impl<K, T> Clone for SingleFlight<K, T> {
    fn clone(&self) -> Self {
        Self { running: Arc::clone(&self.running) }
    }
}

impl<K, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self { running: Arc::default() }
    }
}

impl<K, T> SingleFlight<K, T>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Nothing under way.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The answer of the work under way for `key`; when there is none, `work` is begun. `T` is often a
    /// `Result<_, Arc<_>>`. There is no deadline here: `work` brings its own.
    ///
    /// # Errors
    /// The work panicked.
    pub async fn run<F>(&self, key: K, work: F) -> Result<T, BrokeOff>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut answer = self.join(key, work);
        let done = answer.wait_for(Option::is_some).await.map_err(|_| BrokeOff)?;
        done.clone().ok_or(BrokeOff)
    }

    fn join<F>(&self, key: K, work: F) -> watch::Receiver<Option<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut running = self.running.lock();
        if let Some(answer) = running.get(&key) {
            return answer.clone();
        }
        let (tell, answer) = watch::channel(None);
        running.insert(key.clone(), answer.clone());
        // Taken off the list when the work ends, however it ends, and before anyone hears of it: whoever asks after
        // the answer is known begins anew.
        let place = Place { key, running: Arc::clone(&self.running) };
        tokio::spawn(async move {
            let done = work.await;
            drop(place);
            tell.send_replace(Some(done));
        });
        answer
    }
}

struct Place<K: Eq + Hash, T> {
    key: K,
    running: Running<K, T>,
}

impl<K: Eq + Hash, T> Drop for Place<K, T> {
    fn drop(&mut self) {
        self.running.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn many_ask_and_one_works() {
        let (flight, count) = (SingleFlight::new(), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let (flight, count) = (flight.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                flight
                    .run("session", async move {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        count.fetch_add(1, Ordering::SeqCst)
                    })
                    .await
            })
        };
        let asked: Vec<_> = (0..50).map(|_| ask()).collect();
        for one in asked {
            assert_eq!(one.await.unwrap(), Ok(0));
        }
        assert_eq!(ask().await.unwrap(), Ok(1), "after the answer the work is done anew");
        assert!(flight.running.lock().is_empty());
    }

    #[tokio::test]
    async fn the_work_outlives_who_asked_first() {
        let flight = SingleFlight::new();
        let work = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            7
        };
        let first = tokio::spawn({
            let flight = flight.clone();
            async move { flight.run(1, work).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        first.abort();
        assert_eq!(flight.run(1, async { 8 }).await, Ok(7));
    }

    #[tokio::test]
    async fn work_that_panics_blocks_nobody() {
        let flight: SingleFlight<u8, u8> = SingleFlight::new();
        assert_eq!(flight.run(1, async { panic!("on purpose") }).await, Err(BrokeOff));
        assert_eq!(flight.run(1, async { 2 }).await, Ok(2));
    }
}
