//! The answers that are open: watches, logs, shells, long bodies. Each can be looked at and cut, so that a right that is
//! withdrawn ends at once and not when the stream does.
//!
//! A small answer, which has left the cluster when its head is here, is never registered.
//!
//! Must not know: why one is cut; who asks says so.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use flotilla_identity::policy::{Action, PolicySet};
use flotilla_identity::principal::Principal;
use flotilla_types::id::{RecordingId, RequestId, StreamId};
use flotilla_types::recording::StreamView;
use flotilla_types::time::Timestamp;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use thiserror::Error;

use crate::act::resource;
use crate::request_info::RequestInfo;

/// Every open stream of this hub. Cloning shares it.
#[derive(Clone, Default)]
pub struct LiveStreams(Arc<Mutex<HashMap<StreamId, Arc<LiveStream>>>>);

/// One open stream.
pub struct LiveStream {
    id: StreamId,
    about: About,
    since: Timestamp,
    sent: AtomicU64,
    received: AtomicU64,
    cut: OnceLock<Arc<str>>,
    waker: AtomicWaker,
}

/// What a stream is.
pub(crate) struct About {
    pub(crate) principal: Principal,
    pub(crate) request_id: RequestId,
    pub(crate) cluster: Arc<str>,
    pub(crate) info: RequestInfo,
    pub(crate) upgrade: bool,
    pub(crate) recording: Option<RecordingId>,
    /// Groups of grants with which it was opened.
    pub(crate) lent: Vec<String>,
}

/// The stream was cut.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cut: {0}")]
pub(crate) struct Cut(Arc<str>);

/// Keeps a stream registered; dropping it ends that.
pub(crate) struct Registered {
    streams: LiveStreams,
    stream: Arc<LiveStream>,
}

impl LiveStreams {
    pub(crate) fn register(&self, about: About) -> Registered {
        let stream = Arc::new(LiveStream {
            id: StreamId::new(),
            about,
            since: Timestamp::now(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            cut: OnceLock::new(),
            waker: AtomicWaker::new(),
        });
        self.0.lock().insert(stream.id, Arc::clone(&stream));
        Registered { streams: self.clone(), stream }
    }

    /// All open streams, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<LiveStream>> {
        let mut all: Vec<_> = self.0.lock().values().cloned().collect();
        all.sort_unstable_by_key(|stream| stream.id);
        all
    }

    /// The stream, while it is open.
    #[must_use]
    pub fn get(&self, id: StreamId) -> Option<Arc<LiveStream>> {
        self.0.lock().get(&id).cloned()
    }

    /// The open stream that is recorded so.
    #[must_use]
    pub fn recorded_as(&self, recording: RecordingId) -> Option<StreamId> {
        self.0.lock().values().find(|stream| stream.recording() == Some(recording)).map(|stream| stream.id)
    }

    /// Cuts every stream that `which` names, and returns how many. `reason` goes into their audit rows and to their
    /// readers, where those can be told.
    pub fn cut_where(&self, reason: &str, which: impl Fn(&LiveStream) -> bool) -> usize {
        let chosen: Vec<_> = self.all().into_iter().filter(|stream| which(stream)).collect();
        chosen.iter().filter(|stream| stream.cut(reason)).count()
    }
}

impl LiveStream {
    /// The stream.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Whose it is, as he was when it was opened.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.about.principal
    }

    /// Name of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.about.cluster
    }

    /// What was asked.
    #[must_use]
    pub fn info(&self) -> &RequestInfo {
        &self.about.info
    }

    /// Its recording, if there is one.
    #[must_use]
    pub fn recording(&self) -> Option<RecordingId> {
        self.about.recording
    }

    /// Whether this caller may (still) have it open: the policy allows it, and the grants that it was opened with hold.
    /// The cluster may have let it open because of them alone, whatever else the policy allows.
    #[must_use]
    pub fn is_allowed(&self, policy: &PolicySet, caller: &Principal) -> bool {
        let action = action(&self.about.cluster, &self.about.info);
        caller.may(policy, &action).is_allowed() && self.is_lent(policy, caller, &action)
    }

    fn is_lent(&self, policy: &PolicySet, caller: &Principal, action: &Action<'_>) -> bool {
        if self.about.lent.is_empty() {
            return true;
        }
        let now = policy.arrival(caller.email(), caller.roles(), caller.groups(), action);
        self.about.lent.iter().all(|group| now.groups.contains(group))
    }

    /// Ends it. Whether it was not cut before.
    pub fn cut(&self, reason: &str) -> bool {
        let first = self.cut.set(reason.into()).is_ok();
        self.waker.wake();
        first
    }

    /// As the API shows it.
    #[must_use]
    pub fn view(&self) -> StreamView {
        let info = &self.about.info;
        StreamView {
            id: self.id,
            user: self.about.principal.email().to_owned(),
            session: self.about.principal.session(),
            request_id: self.about.request_id.clone(),
            cluster: self.about.cluster.to_string(),
            kind: self.kind().to_owned(),
            resource: resource(info),
            namespace: info.namespace.clone(),
            name: if info.is_resource_request { info.name.clone() } else { info.path.clone() },
            since: self.since,
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            recording: self.about.recording,
        }
    }

    fn kind(&self) -> &'static str {
        let info = &self.about.info;
        match info.subresource.as_str() {
            "exec" => "exec",
            "attach" => "attach",
            "portforward" => "port-forward",
            "log" => "log",
            "proxy" => "proxy",
            _ if self.about.upgrade => "upgrade",
            _ if info.verb == "watch" => "watch",
            _ => "answer",
        }
    }

    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether it was cut; if not, `cx` is woken when it is.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> Poll<Cut> {
        self.waker.register(cx.waker());
        self.cut.get().map_or(Poll::Pending, |reason| Poll::Ready(Cut(Arc::clone(reason))))
    }
}

impl Registered {
    pub(crate) fn stream(&self) -> &Arc<LiveStream> {
        &self.stream
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.streams.0.lock().remove(&self.stream.id);
    }
}

/// What the policy is asked.
pub(crate) fn action<'a>(cluster: &'a str, info: &'a RequestInfo) -> Action<'a> {
    Action {
        cluster,
        verb: info.verb,
        api_group: &info.api_group,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        path: if info.is_resource_request { "" } else { &info.path },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_info::classify;

    fn about(method: &str, target: &str, upgrade: bool) -> About {
        About {
            principal: Principal::system("test"),
            request_id: RequestId::new(),
            cluster: "dev".into(),
            info: classify(method, target).unwrap(),
            upgrade,
            recording: None,
            lent: Vec::new(),
        }
    }

    #[test]
    fn streams_are_listed_cut_and_forgotten() {
        let streams = LiveStreams::default();
        let log = streams.register(about("GET", "/api/v1/namespaces/shop/pods/web-0/log?follow=1", false));
        let watch = streams.register(about("GET", "/api/v1/pods?watch=1", false));
        let shell = streams.register(about("GET", "/api/v1/namespaces/shop/pods/web-0/exec?command=sh", true));
        log.stream().count_received(7);
        let seen: Vec<_> = streams.all().iter().map(|stream| stream.view()).collect();
        let kinds: Vec<_> = seen.iter().map(|view| (view.kind.as_str(), view.name.as_str(), view.received)).collect();
        assert_eq!(kinds, [("log", "web-0", 7), ("watch", "", 0), ("exec", "web-0", 0)]);

        let waker = futures_util::task::noop_waker();
        let cx = Context::from_waker(&waker);
        assert!(shell.stream().poll_cut(&cx).is_pending());
        assert_eq!(streams.cut_where("the grant has ended", |stream| stream.info().namespace == "shop"), 2);
        assert_eq!(streams.cut_where("again", |stream| stream.info().namespace == "shop"), 0, "cut already");
        let Poll::Ready(cut) = shell.stream().poll_cut(&cx) else { panic!("not cut") };
        assert_eq!(cut.to_string(), "cut: the grant has ended");
        assert!(watch.stream().poll_cut(&cx).is_pending());
        drop((log, shell));
        assert_eq!(streams.all().len(), 1);
    }
}
