//! Recorded shells.

use flotilla_store::{ChunkReader, NewRecording, Progress, RecordingEnd, Store, StoreError};
use flotilla_types::id::{RecordingId, RequestId, UserId};
use flotilla_types::recording::{RecordingKind, RecordingQuery, RecordingState};

use crate::bed::Bed;

on_both_engines!(
    content_comes_back_and_is_sealed,
    what_is_cut_off_changed_or_exchanged_is_found,
    a_recording_has_one_writer_and_one_end,
    filters_pages_and_owners,
    old_ones_are_forgotten,
);

pub(crate) fn new(user: UserId, pod: &str) -> NewRecording {
    NewRecording {
        kind: RecordingKind::Exec,
        user,
        email: "dev@example.com".into(),
        request_id: RequestId::new(),
        cluster: "prod".into(),
        namespace: "shop".into(),
        pod: pod.into(),
        command: "exec pods web-0: sh".into(),
    }
}

pub(crate) async fn write(store: &Store, id: RecordingId, chunks: &[&str]) -> [u8; 32] {
    let mut hash = RecordingEnd::NO_HASH;
    for (number, text) in (0..).zip(chunks) {
        let progress = Progress {
            number,
            data: text.as_bytes(),
            bytes: text.len(),
            duration_ms: 1000 * (number + 1),
            width: 97,
            height: 31,
        };
        hash = store.append_recording(id, &hash, &progress).await.unwrap();
    }
    hash
}

pub(crate) fn end(chunks: i64, hash: [u8; 32]) -> RecordingEnd {
    RecordingEnd {
        state: RecordingState::Complete,
        reason: String::new(),
        exit_code: Some(9),
        duration_ms: 2500,
        chunks,
        hash,
    }
}

pub(crate) async fn read(store: &Store, id: RecordingId) -> Result<Vec<String>, StoreError> {
    let (mut reader, mut texts) = (ChunkReader::new(id), Vec::new());
    while let Some(chunk) = reader.next(store).await? {
        texts.push(String::from_utf8(chunk.to_vec()).unwrap());
    }
    Ok(texts)
}

async fn content_comes_back_and_is_sealed(bed: Bed) {
    let store = bed.store().await;
    let id = store.create_recording(&new(UserId::new(), "web-0")).await.unwrap();
    let hash = write(&store, id, &["first", "second"]).await;
    assert_eq!(read(&store, id).await.unwrap(), ["first", "second"], "while it goes on");
    store.finish_recording(id, &end(2, hash)).await.unwrap();
    assert_eq!(read(&store, id).await.unwrap(), ["first", "second"]);
    let recording = store.recording(id).await.unwrap().unwrap();
    assert_eq!((recording.state, recording.exit_code, recording.chunks), (RecordingState::Complete, Some(9), 2));
    assert_eq!((recording.width, recording.height, recording.bytes, recording.duration_ms), (97, 31, 11, 2500));
    let kept: Vec<(String,)> = bed.rows("SELECT data FROM recording_chunks").await;
    assert!(kept.iter().all(|(data,)| data.starts_with("s1.test.") && !data.contains("first")), "{kept:?}");
    assert!(store.recordings_stored().await.unwrap() > 11);
}

async fn what_is_cut_off_changed_or_exchanged_is_found(bed: Bed) {
    let store = bed.store().await;
    let id = store.create_recording(&new(UserId::new(), "web-0")).await.unwrap();
    let hash = write(&store, id, &["a", "b", "c"]).await;
    store.finish_recording(id, &end(3, hash)).await.unwrap();
    let check = |what: &'static str| {
        let store = store.clone();
        async move { assert!(read(&store, id).await.is_err(), "{what}") }
    };
    bed.execute("CREATE TABLE kept AS SELECT * FROM recording_chunks; CREATE TABLE whole AS SELECT * FROM recordings")
        .await;
    bed.execute("DELETE FROM recording_chunks WHERE number = 2").await;
    check("the last chunk is missing").await;
    bed.execute("UPDATE recordings SET chunks = 2, hash = (SELECT hash FROM recording_chunks WHERE number = 1)").await;
    check("the last chunk is missing and the row agrees").await;
    bed.execute("DELETE FROM recording_chunks; UPDATE recordings SET chunks = 0").await;
    check("all are missing").await;
    bed.execute("INSERT INTO recording_chunks SELECT * FROM kept; DELETE FROM recording_chunks WHERE number = 1").await;
    check("one in the middle is missing").await;
    bed.execute("DELETE FROM recording_chunks; INSERT INTO recording_chunks SELECT * FROM kept").await;
    bed.execute("UPDATE recording_chunks SET data = (SELECT data FROM kept WHERE number = 1) WHERE number = 0").await;
    check("one stands in another's place").await;
    bed.execute("DELETE FROM recording_chunks; INSERT INTO recording_chunks SELECT * FROM kept").await;
    bed.execute("UPDATE recordings SET chunks = 3, hash = (SELECT hash FROM whole)").await;
    assert_eq!(read(&store, id).await.unwrap(), ["a", "b", "c"], "as it was");
}

async fn a_recording_has_one_writer_and_one_end(bed: Bed) {
    let store = bed.store().await;
    let id = store.create_recording(&new(UserId::new(), "web-0")).await.unwrap();
    let hash = write(&store, id, &["a"]).await;
    let again = Progress { number: 0, data: b"x", bytes: 1, duration_ms: 1, width: 0, height: 0 };
    let twice = store.append_recording(id, &RecordingEnd::NO_HASH, &again).await;
    assert!(matches!(twice, Err(StoreError::Conflict { .. })), "{twice:?}");
    store.finish_recording(id, &end(1, hash)).await.unwrap();
    assert!(matches!(store.finish_recording(id, &end(1, hash)).await, Err(StoreError::NotFound { .. })));
    let late = store.append_recording(id, &hash, &Progress { number: 1, ..again }).await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    assert_eq!(read(&store, id).await.unwrap(), ["a"]);
    let never = store.create_recording(&new(UserId::new(), "web-0")).await.unwrap();
    store.delete_recording(never).await.unwrap();
    assert!(store.recording(never).await.unwrap().is_none());
}

async fn filters_pages_and_owners(bed: Bed) {
    let store = bed.store().await;
    let (mine, other) = (UserId::new(), UserId::new());
    let mut ids = Vec::new();
    for (user, pod) in [(mine, "web-0"), (other, "web-1"), (mine, "web-1")] {
        ids.push(store.create_recording(&new(user, pod)).await.unwrap());
    }
    let list = async |query: RecordingQuery, only| {
        let (recordings, more) = store.list_recordings(&query, only).await.unwrap();
        (recordings.into_iter().map(|recording| recording.id).collect::<Vec<_>>(), more)
    };
    assert_eq!(list(RecordingQuery::default(), None).await, (vec![ids[2], ids[1], ids[0]], false));
    assert_eq!(list(RecordingQuery::default(), Some(mine)).await.0, [ids[2], ids[0]]);
    let pod = RecordingQuery { pod: Some("web-1".into()), cluster: Some("prod".into()), ..RecordingQuery::default() };
    assert_eq!(list(pod, Some(mine)).await.0, [ids[2]]);
    let page = RecordingQuery { limit: Some(2), ..RecordingQuery::default() };
    assert_eq!(list(page.clone(), None).await, (vec![ids[2], ids[1]], true));
    assert_eq!(list(RecordingQuery { before: Some(ids[1]), ..page }, None).await, (vec![ids[0]], false));
    let now = flotilla_types::time::Timestamp::now();
    let user = Some("dev@example.com".to_owned());
    let later =
        RecordingQuery { since: Some(now + std::time::Duration::from_secs(60)), user, ..RecordingQuery::default() };
    assert_eq!(list(later, None).await.0, []);
    let odd = RecordingQuery { namespace: Some("a\0b".into()), ..RecordingQuery::default() };
    assert_eq!(list(odd, None).await.0, []);
}

async fn old_ones_are_forgotten(bed: Bed) {
    let store = bed.store().await;
    let id = store.create_recording(&new(UserId::new(), "web-0")).await.unwrap();
    write(&store, id, &["a"]).await;
    store.touch_recordings(&[id]).await.unwrap();
    let now = flotilla_types::time::now_ms();
    assert_eq!(store.forget_recordings(now - 60_000).await.unwrap(), 0);
    assert_eq!(store.forget_recordings(now + 60_000).await.unwrap(), 1);
    assert_eq!(read(&store, id).await.unwrap(), Vec::<String>::new());
    assert_eq!(store.recordings_stored().await.unwrap(), 0);
}
