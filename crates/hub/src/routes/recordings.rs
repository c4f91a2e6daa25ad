//! `/api/recordings`: recorded shells. Everyone sees his own; administrators and auditors see all. Reading content is
//! an act of its own in the audit log.
//!
//! Must not know: how recordings are kept.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use bytes::Bytes;
use flotilla_store::{ChunkReader, Recording};
use flotilla_types::audit::{Target, Verb};
use flotilla_types::id::{RecordingId, UserId};
use flotilla_types::problem::Problem;
use flotilla_types::recording::{
    RecordingPage, RecordingQuery, RecordingState, RecordingView, SearchQuery, SearchResult,
};
use flotilla_types::time::{from_ms, now_ms};
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::error::ApiError;
use crate::hub::Hub;
use crate::recorder::{LIVE_FOR_MS, cast};
use crate::request::caller::{Caller, Path, Query};
use crate::trail::Entry;

type Answer<T> = Result<T, ApiError>;

/// How long a search may look through recordings.
const SEARCH_BUDGET: Duration = Duration::from_secs(5);
/// Longest words that are searched for, in bytes.
const MAX_WORDS: usize = 256;

fn view(hub: &Hub, recording: Recording) -> RecordingView {
    let about = recording.about;
    let interrupted = recording.state == RecordingState::Recording && recording.touched_at_ms < now_ms() - LIVE_FOR_MS;
    let goes_on = recording.state == RecordingState::Recording && !interrupted;
    let stream = goes_on.then(|| hub.transport.live().recorded_as(recording.id)).flatten();
    RecordingView {
        id: recording.id,
        kind: about.kind,
        user: about.user,
        email: about.email,
        request_id: about.request_id,
        cluster: about.cluster,
        namespace: about.namespace,
        pod: about.pod,
        command: about.command,
        state: if interrupted { RecordingState::Incomplete } else { recording.state },
        reason: if interrupted { "the hub ended before the session did".to_owned() } else { recording.reason },
        started_at: from_ms(recording.started_at_ms),
        duration_ms: u64::try_from(recording.duration_ms).unwrap_or(0),
        width: recording.width,
        height: recording.height,
        exit_code: recording.exit_code,
        bytes: recording.bytes,
        stream,
    }
}

/// Whose recordings the caller may see: his own, or everybody's.
fn only(hub: &Hub, caller: &Caller) -> Option<UserId> {
    (!hub.policy.load().is_auditor(caller.principal.roles())).then(|| caller.principal.user_id())
}

async fn existing(hub: &Hub, caller: &Caller, id: RecordingId) -> Answer<Recording> {
    let only = only(hub, caller);
    let found = hub.store.recording(id).await?.filter(|recording| only.is_none_or(|user| user == recording.about.user));
    found.ok_or_else(|| ApiError::not_found("there is no recording with this id, or it is not yours to see"))
}

/// Notes who looks at what is in a recording, before he does.
async fn note(hub: &Hub, caller: &Caller, recording: &Recording, verb: Verb, route: &'static str) -> Answer<()> {
    let about = &recording.about;
    let target = Target {
        cluster: about.cluster.clone(),
        resource: "recordings".to_owned(),
        namespace: about.namespace.clone(),
        name: recording.id.to_string(),
        ..Target::default()
    };
    let command = format!("{} of {}: {}", verb.as_str().replace('_', " "), about.email, about.command);
    let entry = Entry { verb, command, route, target, status: 200 };
    hub.trail.act(caller, entry, async { Ok::<_, ApiError>(()) }).await
}

fn checked_words(text: &str) -> Answer<&str> {
    if text.trim().is_empty() || text.len() > MAX_WORDS {
        return Err(ApiError::invalid(format!("text has {} bytes; give 1 to {MAX_WORDS}", text.len())));
    }
    Ok(text)
}

/// Recordings, newest first. `X-Audit-Scope` says whether they are everybody's (`all`) or the caller's (`self`).
#[utoipa::path(get, path = "/api/recordings", tag = "recordings", params(RecordingQuery), responses(
    (status = 200, body = RecordingPage), (status = 401, body = Problem), (status = 422, body = Problem)))]
pub async fn list(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Query(query): Query<RecordingQuery>,
) -> Answer<impl IntoResponse> {
    let only = only(&hub, &caller);
    let (found, more) = hub.store.list_recordings(&query, only).await?;
    let next = found.last().filter(|_| more).map(|recording| recording.id);
    let (found, next) = match query.text.as_deref() {
        Some(text) => holding(&hub, &caller, found, next, checked_words(text)?).await?,
        None => (found, next),
    };
    let recordings = found.into_iter().map(|recording| view(&hub, recording)).collect();
    let scope = if only.is_none() { "all" } else { "self" };
    Ok(([("x-audit-scope", scope)], axum::Json(RecordingPage { recordings, next })))
}

/// Those in which the words were shown, as far as the time allows; from where to go on.
async fn holding(
    hub: &Hub,
    caller: &Caller,
    found: Vec<Recording>,
    mut next: Option<RecordingId>,
    text: &str,
) -> Answer<(Vec<Recording>, Option<RecordingId>)> {
    let command = format!("search in {} recordings", found.len());
    let entry = Entry { verb: Verb::RecordingSearch, command, route: "/api/recordings", ..Entry::default() };
    hub.trail.act(caller, entry, async { Ok::<_, ApiError>(()) }).await?;
    let (deadline, mut holding) = (Instant::now() + SEARCH_BUDGET, Vec::new());
    for recording in found {
        let id = recording.id;
        match cast::search(&recording, &hub.store, text).await {
            Ok(result) if !result.lines.is_empty() => holding.push(recording),
            Ok(_) => {}
            // One that was tampered with must not hide the others.
            Err(error) => tracing::error!(recording = %id, error = format!("{error:#}"), "a recording cannot be read"),
        }
        if Instant::now() > deadline {
            next = Some(id);
            break;
        }
    }
    Ok((holding, next))
}

/// One recording, without its content.
#[utoipa::path(get, path = "/api/recordings/{id}", tag = "recordings", params(("id" = RecordingId, Path)), responses(
    (status = 200, body = RecordingView), (status = 404, body = Problem)))]
pub async fn show(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<RecordingId>,
) -> Answer<axum::Json<RecordingView>> {
    let recording = existing(&hub, &caller, id).await?;
    Ok(axum::Json(view(&hub, recording)))
}

/// The recording as asciicast v2. It breaks off where something is missing or was changed.
#[utoipa::path(get, path = "/api/recordings/{id}/cast", tag = "recordings", params(("id" = RecordingId, Path)), responses(
    (status = 200, content_type = "application/x-asciicast", body = String), (status = 404, body = Problem)))]
pub async fn cast(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<RecordingId>,
) -> Answer<impl IntoResponse> {
    let recording = existing(&hub, &caller, id).await?;
    note(&hub, &caller, &recording, Verb::RecordingRead, "/api/recordings/{id}/cast").await?;
    let header = Bytes::from(cast::header(&recording).line());
    let chunks = stream::unfold(Some((ChunkReader::new(id), hub)), |state| async move {
        let (mut reader, hub) = state?;
        match cast::next_lines(&mut reader, &hub.store).await {
            Ok(Some(lines)) => Some((Ok(Bytes::from(lines)), Some((reader, hub)))),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "a recording cannot be read");
                Some((Err(error), None))
            }
        }
    });
    let first = stream::once(async { Ok(header) });
    let body = axum::body::Body::from_stream(futures_util::StreamExt::chain(first, chunks));
    let file = format!("attachment; filename=\"{id}.cast\"");
    Ok(([(CONTENT_TYPE, "application/x-asciicast".to_owned()), (CONTENT_DISPOSITION, file)], body))
}

/// Lines of a recording in which words were shown.
#[utoipa::path(get, path = "/api/recordings/{id}/search", tag = "recordings",
    params(("id" = RecordingId, Path), SearchQuery), responses(
    (status = 200, body = SearchResult), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn search(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<RecordingId>,
    Query(query): Query<SearchQuery>,
) -> Answer<axum::Json<SearchResult>> {
    let text = checked_words(&query.text)?;
    let recording = existing(&hub, &caller, id).await?;
    note(&hub, &caller, &recording, Verb::RecordingSearch, "/api/recordings/{id}/search").await?;
    Ok(axum::Json(cast::search(&recording, &hub.store, text).await?))
}

/// What is shown in a session from now on, as server-sent events: `header` (the first line of an asciicast), `lines`
/// (asciicast events, one a line), `dropped` (how many pieces were lost because the reader was slow), `end`.
#[utoipa::path(get, path = "/api/recordings/{id}/live", tag = "recordings", params(("id" = RecordingId, Path)), responses(
    (status = 200, content_type = "text/event-stream", body = String), (status = 404, body = Problem),
    (status = 409, body = Problem)))]
pub async fn live(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<RecordingId>,
) -> Answer<impl IntoResponse> {
    let recording = existing(&hub, &caller, id).await?;
    let Some(lines) = hub.library.observe(id) else {
        return Err(ApiError::conflict("this session does not go on here; replay its recording instead"));
    };
    note(&hub, &caller, &recording, Verb::RecordingObserve, "/api/recordings/{id}/live").await?;
    let header = Event::default().event("header").data(cast::header(&recording).line().trim_end());
    let first = stream::once(async { Ok::<_, Infallible>(header) });
    let observer = Observer { lines, hub, caller, recording };
    let rest = stream::unfold(Some(observer), |state| async move {
        let mut observer = state?;
        let event = observer.next().await;
        let go_on = event.is_some().then_some(observer);
        Some((Ok(event.unwrap_or_else(|| Event::default().event("end").data("{}"))), go_on))
    });
    Ok(Sse::new(futures_util::StreamExt::chain(first, rest)).keep_alive(KeepAlive::default()))
}

/// Somebody who looks on.
struct Observer {
    lines: broadcast::Receiver<Arc<str>>,
    hub: Arc<Hub>,
    caller: Caller,
    recording: Recording,
}

impl Observer {
    /// `None` at the end: of the session, of the hub, or of the right to look on.
    async fn next(&mut self) -> Option<Event> {
        const CHECK: Duration = Duration::from_secs(5);
        loop {
            let received = tokio::select! {
                () = self.hub.shutdown.cancelled() => return None,
                received = self.lines.recv() => received,
                () = tokio::time::sleep(CHECK) => {
                    if self.may_look_on().await { continue }
                    return None;
                }
            };
            return match received {
                Ok(lines) => Some(Event::default().event("lines").data(lines.trim_end())),
                Err(RecvError::Lagged(pieces)) => Some(Event::default().event("dropped").data(pieces.to_string())),
                Err(RecvError::Closed) => None,
            };
        }
    }

    async fn may_look_on(&self) -> bool {
        let Ok(caller) = self.hub.authenticator.resolve(self.caller.principal.via()).await else { return false };
        caller.user_id() == self.recording.about.user || self.hub.policy.load().is_auditor(caller.roles())
    }
}
