//! Sessions in this process: gone when it ends, and unknown to other hubs.
//!
//! Must not know: cookies.

use std::collections::HashMap;

use flotilla_identity::authn::By;
use flotilla_store::{BrowserSession, StoreError};
use flotilla_types::id::{SessionId, UserId};
use parking_lot::Mutex;

use super::backend::{Answer, SessionBackend, SessionError};

/// Most sessions at a time; about 30 MB. When there is no room, nobody can sign in until sessions end.
const CAPACITY: usize = 100_000;

/// The sessions.
#[derive(Default)]
pub(super) struct Memory {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    sessions: HashMap<SessionId, (String, BrowserSession)>,
    by_hash: HashMap<String, SessionId>,
}

impl Kept {
    fn remove(&mut self, id: SessionId) -> bool {
        let Some((hash, _)) = self.sessions.remove(&id) else { return false };
        self.by_hash.remove(&hash);
        true
    }

    fn remove_where(&mut self, gone: impl Fn(&BrowserSession) -> bool) -> Vec<SessionId> {
        let ids: Vec<_> =
            self.sessions.values().map(|(_, one)| one).filter(|one| gone(one)).map(|one| one.id).collect();
        ids.into_iter().filter(|id| self.remove(*id)).collect()
    }
}

fn done<'a, T: Send + 'a>(value: T) -> Answer<'a, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl SessionBackend for Memory {
    fn create<'a>(&'a self, hash: &'a str, session: &'a BrowserSession) -> Answer<'a, ()> {
        let mut kept = self.kept.lock();
        if kept.sessions.len() >= CAPACITY {
            kept.remove_where(|one| one.max_until_ms <= session.created_at_ms);
        }
        if kept.sessions.len() >= CAPACITY {
            let full = StoreError::Conflict { what: "session: there are too many, so this" };
            return Box::pin(std::future::ready(Err(SessionError::Store(full))));
        }
        kept.by_hash.insert(hash.to_owned(), session.id);
        kept.sessions.insert(session.id, (hash.to_owned(), session.clone()));
        done(())
    }

    fn find<'a>(&'a self, by: By<'a, SessionId>, now_ms: i64) -> Answer<'a, Option<BrowserSession>> {
        let kept = self.kept.lock();
        let id = match by {
            By::Hash(hash) => kept.by_hash.get(hash).copied(),
            By::Id(id) => Some(id),
        };
        let found = id.and_then(|id| kept.sessions.get(&id)).map(|(_, session)| session.clone());
        done(found.filter(|session| session.max_until_ms > now_ms))
    }

    fn list(&self, user: UserId, now_ms: i64) -> Answer<'_, Vec<BrowserSession>> {
        let mine = |session: &&BrowserSession| session.user == user && session.max_until_ms > now_ms;
        let mut found: Vec<_> =
            self.kept.lock().sessions.values().map(|(_, session)| session).filter(mine).cloned().collect();
        found.sort_unstable_by_key(|session| std::cmp::Reverse(session.id));
        done(found)
    }

    fn end(&self, id: SessionId) -> Answer<'_, bool> {
        done(self.kept.lock().remove(id))
    }

    fn end_all(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        done(self.kept.lock().remove_where(|session| session.user == user))
    }

    fn touch<'a>(&'a self, seen: &'a [(SessionId, i64)]) -> Answer<'a, ()> {
        let mut kept = self.kept.lock();
        for (id, at) in seen {
            if let Some((_, session)) = kept.sessions.get_mut(id) {
                session.last_seen_ms = session.last_seen_ms.max(*at);
            }
        }
        done(())
    }

    fn forget(&self, now_ms: i64, idle_since_ms: i64) -> Answer<'_, u64> {
        let gone = |session: &BrowserSession| session.max_until_ms <= now_ms || session.last_seen_ms <= idle_since_ms;
        done(self.kept.lock().remove_where(gone).len() as u64)
    }
}
