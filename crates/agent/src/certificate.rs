//! The agent's certificate: obtained once with a token, renewed by itself ever after.
//!
//! ```text
//!   kept and good ──────────────▶ use ──▶ 2/3 of its life ──▶ renew ──▶ use ...
//!   none, or a new token ──▶ enrol ──┘                          │ fails until it has ended
//!   ended, no new token ──▶ say so, look again in 30 s ◀────────┘
//! ```
//!
//! Must not know: what the certificate is used for.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use flotilla_settings::{Secret, Source};
use flotilla_tunnel::dial::Backoff;
use flotilla_tunnel::token::EnrolmentToken;
use flotilla_types::time::now_ms;
use serde_json::{Map, Value};

use crate::config;
use crate::health::Readiness;
use crate::hub::{Hub, one_line, token_hash};
use crate::state::{State, StateError, Stored};

/// Between attempts that the hub refused, and between looks for a new token.
const REFUSED: Duration = Duration::from_secs(30);

/// Longest sleep at a time, so that a machine that was suspended or whose clock was set notices soon.
const NAP: Duration = Duration::from_secs(60);

/// Obtains, keeps and renews the certificate.
pub(crate) struct Certificates {
    hub: Hub,
    state: State,
    cluster: String,
    settings: Source,
    readiness: Readiness,
    /// The certificate in use is not kept: a restart would be without it.
    unkept: AtomicBool,
}

/// What to do about a certificate.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Use,
    Enrol,
    /// Nothing can be done until somebody gives a new token.
    Stuck(String),
}

impl Certificates {
    pub(crate) fn new(hub: Hub, state: State, cluster: String, settings: Source, readiness: Readiness) -> Self {
        Self { hub, state, cluster, settings, readiness, unkept: AtomicBool::new(false) }
    }

    /// The first certificate of this run: the one kept, or a new one. Waits for as long as it takes.
    ///
    /// # Errors
    /// There is nothing to begin with, neither a certificate nor a token, or the state cannot be used.
    pub(crate) async fn first(&self) -> anyhow::Result<Stored> {
        let kept = self.kept().await?;
        if kept.is_none() && self.token().is_none() {
            bail!(
                "this agent is not enrolled: make a token with `flotilla agents token {}` and give it as `central.token` or AGENT_TOKEN",
                self.cluster
            );
        }
        Ok(self.obtain(kept).await)
    }

    /// What earlier runs kept. Waits for an API server that is away and for a right that is missing.
    async fn kept(&self) -> anyhow::Result<Option<Stored>> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.state.load(&self.cluster).await {
                Ok(kept) => {
                    self.readiness.set_obstacle(None);
                    return Ok(kept);
                }
                Err(error) if error.may_pass() => error,
                Err(error) => return Err(error.into()),
            };
            self.obstructed(&error);
            tokio::time::sleep(backoff.next(error.is_refusal())).await;
        }
    }

    /// The certificate that follows. Sleeps until it is time, and sees to it meanwhile that this one is kept.
    pub(crate) async fn following(&self, stored: Stored) -> Stored {
        let mut due = pin!(sleep_until(renewal_ms(stored.obtained_ms, stored.ends_ms(), fastrand::i64(0..=100))));
        tokio::select! {
            () = &mut due => {}
            () = self.until_kept(&stored) => due.await,
        }
        while !stored.has_ended(now_ms()) {
            let error = match self.hub.renew(&stored).await {
                Ok(new) => return self.keep(new, "certificate renewed").await,
                Err(error) => error,
            };
            let (refused, ends) = (error.is_final(), stored.ends());
            tracing::warn!(error = one_line(error), ends, "the certificate could not be renewed; will try again");
            if refused && self.new_token_beside(&stored) {
                break;
            }
            tokio::time::sleep(retry_after(now_ms(), stored.ends_ms(), refused)).await;
        }
        self.obtain(Some(stored)).await
    }

    async fn obtain(&self, kept: Option<Stored>) -> Stored {
        let mut backoff = Backoff::default();
        loop {
            let token = self.token();
            let wait = match next(kept.as_ref(), token.as_ref(), &self.cluster, now_ms()) {
                Next::Stuck(reason) => {
                    tracing::error!("{reason}");
                    self.readiness.set_obstacle(Some(reason));
                    REFUSED
                }
                Next::Enrol => match self.enrol(token.as_ref()).await {
                    Ok(new) => return self.keep(new, "enrolled").await,
                    Err(Failure { refused, .. }) => match &kept {
                        Some(kept) if !kept.has_ended(now_ms()) => {
                            // The token is no good, which was told; the certificate is.
                            self.readiness.set_obstacle(None);
                            return kept.clone();
                        }
                        _ if refused => REFUSED,
                        _ => backoff.next(false),
                    },
                },
                Next::Use => match kept {
                    Some(kept) => return kept,
                    None => REFUSED,
                },
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn enrol(&self, token: Option<&Secret>) -> Result<Stored, Failure> {
        let Some(token) = token else { return Err(Failure { refused: true }) };
        // The token is good for one enrolment, which must not be lost with this process.
        if let Err(error) = self.state.check_writable().await {
            self.obstructed(&error);
            return Err(Failure { refused: error.is_refusal() });
        }
        let metadata = Map::from_iter([("agent_version".to_owned(), Value::from(env!("CARGO_PKG_VERSION")))]);
        self.hub.enrol(token, &self.cluster, metadata).await.map_err(|error| {
            let refused = error.is_final();
            let reason = format!("enrolment failed: {}", one_line(error));
            tracing::error!("{reason}");
            self.readiness.set_obstacle(Some(reason));
            Failure { refused }
        })
    }

    async fn keep(&self, new: Stored, what: &'static str) -> Stored {
        self.readiness.set_obstacle(None);
        tracing::info!(cluster = new.cluster, agent = %new.enrolment.agent_id, ends = new.ends(), "{what}");
        // It is good for this run all the same if this fails; `following` goes on trying.
        let _ = self.save(&new).await;
        new
    }

    async fn save(&self, stored: &Stored) -> Result<(), StateError> {
        let saved = self.state.save(stored).await;
        self.unkept.store(saved.is_err(), Ordering::Relaxed);
        if let Err(error) = &saved {
            tracing::error!(%error, "the certificate could not be kept for a restart; will try again");
        }
        saved
    }

    /// Ends when the certificate is kept.
    async fn until_kept(&self, stored: &Stored) {
        let mut backoff = Backoff::default();
        let mut refused = true;
        while self.unkept.load(Ordering::Relaxed) {
            tokio::time::sleep(backoff.next(refused)).await;
            match self.save(stored).await {
                Ok(()) => tracing::info!("the certificate is kept now"),
                Err(error) => refused = error.is_refusal(),
            }
        }
    }

    fn obstructed(&self, error: &StateError) {
        tracing::error!("{error}");
        self.readiness.set_obstacle(Some(error.to_string()));
    }

    /// The token of this moment: it may have been put into the file since.
    fn token(&self) -> Option<Secret> {
        match config::load(&self.settings) {
            Ok(config) => config.central.token.filter(|token| !token.is_empty()),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the settings cannot be read again");
                None
            }
        }
    }

    fn new_token_beside(&self, stored: &Stored) -> bool {
        self.token().is_some_and(|token| hash_of(&token) != Some(stored.token_hash.clone()))
    }
}

struct Failure {
    refused: bool,
}

fn hash_of(token: &Secret) -> Option<String> {
    EnrolmentToken::parse(token.expose()).ok().map(|token| token_hash(&token))
}

/// A token that was not used yet always counts: somebody gave it for a reason, such as a revocation.
fn next(kept: Option<&Stored>, token: Option<&Secret>, cluster: &str, now_ms: i64) -> Next {
    let fresh = token.and_then(hash_of).filter(|hash| kept.is_none_or(|kept| kept.token_hash != *hash));
    match (kept, fresh) {
        (_, Some(_)) => Next::Enrol,
        (Some(kept), None) if !kept.has_ended(now_ms) => Next::Use,
        (Some(kept), None) => Next::Stuck(format!(
            "the agent's certificate ended at {} and there is no unused enrolment token; make one with `flotilla agents token {cluster}` \
             and give it as `central.token`",
            kept.ends()
        )),
        (None, None) => Next::Stuck(format!(
            "there is neither a certificate nor an enrolment token; make one with `flotilla agents token {cluster}` and give it as `central.token`"
        )),
    }
}

/// When to renew: at two thirds of the certificate's life, up to a twentieth of it earlier (`jitter` of 100), so that
/// agents that were started together do not come together for ever.
fn renewal_ms(obtained_ms: i64, ends_ms: i64, jitter: i64) -> i64 {
    let life = ends_ms.saturating_sub(obtained_ms).max(0);
    obtained_ms.saturating_add(life / 3 * 2).saturating_sub(life / 2000 * jitter.clamp(0, 100))
}

/// How long to wait after a renewal that failed: a tenth of what is left, from 1 s to 5 min; not under 30 s when the
/// hub refused, but not beyond the end either.
fn retry_after(now_ms: i64, ends_ms: i64, refused: bool) -> Duration {
    let left = Duration::from_millis(ends_ms.saturating_sub(now_ms).max(0).unsigned_abs());
    let tenth = (left / 10).clamp(Duration::from_secs(1), Duration::from_secs(300));
    if refused { tenth.max(REFUSED).min(left.max(Duration::from_secs(1))) } else { tenth }
}

async fn sleep_until(at_ms: i64) {
    loop {
        let left = at_ms.saturating_sub(now_ms());
        if left <= 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(left.unsigned_abs()).min(NAP)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::stored;

    const HOUR: i64 = 3_600_000;

    fn token() -> Secret {
        use secrecy::ExposeSecret as _;
        let token = EnrolmentToken::generate(flotilla_tunnel::pki::pin_of(b"ca")).unwrap();
        token.format().expose_secret().to_owned().into()
    }

    #[test]
    fn renews_at_two_thirds_or_a_little_earlier() {
        assert_eq!(renewal_ms(0, 24 * HOUR, 0), 16 * HOUR);
        let earliest = renewal_ms(0, 24 * HOUR, 100);
        assert_eq!(earliest, 16 * HOUR - 24 * HOUR / 20);
        assert_eq!(renewal_ms(5 * HOUR, 8 * HOUR, 0), 7 * HOUR);
        // A clock that is far off must not make it loop or overflow.
        assert_eq!(renewal_ms(8 * HOUR, 5 * HOUR, 50), 8 * HOUR);
        assert!(renewal_ms(i64::MIN, i64::MAX, 100) < i64::MAX);
    }

    #[test]
    fn failed_renewals_are_tried_more_often_towards_the_end() {
        let seconds = |left_s: i64, refused| retry_after(0, left_s * 1000, refused).as_secs();
        assert_eq!(seconds(8 * 3600, false), 300);
        assert_eq!(seconds(600, false), 60);
        assert_eq!(seconds(5, false), 1);
        assert_eq!(seconds(-5, false), 1);
        assert_eq!(seconds(100, true), 30);
        assert_eq!(seconds(20, true), 20);
    }

    #[tokio::test]
    async fn a_certificate_that_could_not_be_kept_is_kept_as_soon_as_that_works() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("state");
        let settings = config::source(
            None,
            [
                ("CENTRAL_URL", "https://127.0.0.1:1"),
                ("CLUSTER_NAME", "a"),
                ("FLOTILLA_AGENT__STATE_DIR", directory.to_str().unwrap()),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let config = config::load(&settings).unwrap();
        let upstream = flotilla_upstream::Upstream::from_kubeconfig(
            "{current-context: c, contexts: [{name: c, context: {cluster: k}}], clusters: [{name: k, cluster: {server: 'http://127.0.0.1:1'}}]}",
            None,
            &flotilla_upstream::Externals::Refused,
        );
        let state = State::open(&config, &upstream.unwrap()).unwrap();
        let readiness = Readiness::new(Default::default(), Duration::from_secs(1), Default::default());
        let certificates = Certificates::new(Hub::new(&config).unwrap(), state, "a".into(), settings, readiness);

        std::fs::remove_dir(&directory).unwrap();
        let new = certificates.keep(stored("a", now_ms(), now_ms() + HOUR), "enrolled").await;
        let kept = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert!(!directory.exists());
            std::fs::create_dir(&directory).unwrap();
            loop {
                if let Some(kept) = certificates.state.load("a").await.unwrap() {
                    return kept;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            kept = kept => assert_eq!(kept.ends_ms(), new.ends_ms()),
            _ = certificates.following(new.clone()) => panic!("it is not time yet"),
            () = tokio::time::sleep(Duration::from_secs(30)) => panic!("it was not kept"),
        }
    }

    #[test]
    fn what_comes_next() {
        let good = stored("a", 0, 1000);
        assert_eq!(next(Some(&good), None, "a", 999), Next::Use);
        assert!(
            matches!(next(Some(&good), None, "a", 1000), Next::Stuck(reason) if reason.contains("1970-01-01T00:00:01Z") && reason.contains("flotilla agents token a"))
        );
        assert!(matches!(next(None, None, "a", 0), Next::Stuck(_)));
        let token = token();
        assert_eq!(next(None, Some(&token), "a", 0), Next::Enrol);
        assert_eq!(next(Some(&good), Some(&token), "a", 0), Next::Enrol, "a new token counts");
        let mut spent = good.clone();
        spent.token_hash = hash_of(&token).unwrap();
        assert_eq!(next(Some(&spent), Some(&token), "a", 0), Next::Use, "a spent one does not");
        assert!(matches!(next(Some(&spent), Some(&token), "a", 1000), Next::Stuck(_)));
    }
}
