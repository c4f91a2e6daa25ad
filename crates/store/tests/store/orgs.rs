//! Organisations, teams, invitations and access on request.

use flotilla_store::{Acceptance, Decided, Decision, NewAccessRequest, NewInvitation, OwnedCluster, Store, StoreError};
use flotilla_types::id::{AccessRequestId, TeamId, UserId};
use flotilla_types::org::{DEFAULT_ORG_ID, Mode, OrgRole, TeamPolicy, TeamRole};
use flotilla_types::rights::{AccessAsk, RequestState};

use crate::bed::Bed;
use crate::users::new_user;

async fn asked(store: &Store, new: &NewAccessRequest) -> AccessRequestId {
    let id = AccessRequestId::new();
    store.create_access_request(id, new).await.unwrap();
    id
}

async fn everyone_and_everything_belongs_somewhere(bed: Bed) {
    let store = bed.store().await;
    let ann = store.create_user(new_user("ann@x", &[])).await.unwrap();
    let bob = store.create_user(new_user("bob@x", &[])).await.unwrap();
    let dev = store.ensure_agent_cluster("dev").await.unwrap();
    let members = store.list_org_members().await.unwrap();
    assert!(members.iter().all(|one| (one.org, one.role) == (DEFAULT_ORG_ID, OrgRole::Member)) && members.len() == 2);
    assert_eq!(store.list_owned_clusters().await.unwrap()[0].org, DEFAULT_ORG_ID);

    let before = store.access_revision().await.unwrap();
    let acme = store.create_org("acme", "Acme", ann.id).await.unwrap();
    assert!(store.access_revision().await.unwrap() > before);
    assert!(matches!(store.create_org("acme", "", bob.id).await, Err(StoreError::Conflict { .. })));
    let seen: Vec<_> = store.list_org_members().await.unwrap().into_iter().map(|m| (m.email, m.org, m.role)).collect();
    assert_eq!(
        seen,
        [("ann@x".into(), acme.id, OrgRole::Owner), ("bob@x".into(), DEFAULT_ORG_ID, OrgRole::Member)],
        "who is in an organisation is in the default one no longer"
    );
    // An organisation keeps an owner.
    let kept = store.put_org_member(acme.id, ann.id, OrgRole::Member).await;
    assert!(matches!(kept, Err(StoreError::Conflict { what: "last owner" })));
    assert!(matches!(store.remove_org_member(acme.id, ann.id).await, Err(StoreError::Conflict { .. })));
    store.put_org_member(acme.id, bob.id, OrgRole::Owner).await.unwrap();
    store.put_org_member(acme.id, ann.id, OrgRole::Member).await.unwrap();
    assert!(matches!(
        store.put_org_member(acme.id, UserId::new(), OrgRole::Owner).await,
        Err(StoreError::NotFound { .. })
    ));

    let mine = OwnedCluster { id: dev, name: "dev".into(), org: acme.id, team: None, mode: Mode::Raw };
    store.put_owned_cluster(&mine).await.unwrap();
    assert_eq!(store.list_owned_clusters().await.unwrap(), [mine]);
    assert!(matches!(store.delete_org(acme.id).await, Err(StoreError::Conflict { .. })), "it has a cluster");
    store.delete_cluster(dev).await.unwrap();
    store.delete_org(acme.id).await.unwrap();
    assert_eq!(store.list_orgs().await.unwrap().len(), 1);
}

async fn teams_have_members_and_clusters(bed: Bed) {
    let store = bed.store().await;
    let ann = store.create_user(new_user("ann@x", &[])).await.unwrap();
    let acme = store.create_org("acme", "Acme", ann.id).await.unwrap();
    let dev = store.ensure_agent_cluster("dev").await.unwrap();
    let pay = store.create_team(acme.id, "pay", &TeamPolicy::default()).await.unwrap();
    let again = store.create_team(acme.id, "pay", &TeamPolicy::default()).await;
    assert!(matches!(again, Err(StoreError::Conflict { what: "team" })));
    let policy = TeamPolicy { approvals: 2, ..TeamPolicy::default() };
    store.set_team_policy(pay, &policy).await.unwrap();
    assert_eq!(store.list_teams().await.unwrap()[0].policy, policy);
    store.put_team_member(pay, ann.id, TeamRole::Viewer).await.unwrap();
    store.put_team_member(pay, ann.id, TeamRole::Admin).await.unwrap();
    let members = store.list_team_members().await.unwrap();
    assert_eq!((members.len(), members[0].role), (1, TeamRole::Admin));
    store.share_cluster_with_team(pay, dev, true).await.unwrap();
    store.share_cluster_with_team(pay, dev, true).await.unwrap();
    assert_eq!(store.list_team_clusters().await.unwrap(), [(pay, dev)]);
    assert!(matches!(store.share_cluster_with_team(TeamId::new(), dev, true).await, Err(StoreError::NotFound { .. })));
    store.share_cluster_with_team(pay, dev, false).await.unwrap();
    assert!(matches!(store.share_cluster_with_team(pay, dev, false).await, Err(StoreError::NotFound { .. })));
    store.delete_team(pay).await.unwrap();
    assert!(store.list_team_members().await.unwrap().is_empty());
}

async fn an_invitation_is_accepted_once(bed: Bed) {
    let (here, there) = (bed.store().await, bed.open().await);
    let ann = here.create_user(new_user("ann@x", &[])).await.unwrap();
    let acme = here.create_org("acme", "Acme", ann.id).await.unwrap();
    let pay = here.create_team(acme.id, "pay", &TeamPolicy::default()).await.unwrap();
    let new = NewInvitation {
        token_hash: "h".into(),
        org: acme.id,
        team: Some(pay),
        role: "developer".into(),
        email: Some("bob@x".into()),
        created_by: "ann@x".into(),
        expires_at_ms: 100,
    };
    here.create_invitation(&new).await.unwrap();
    assert!(here.open_invitation("h", 100).await.unwrap().is_none(), "too old");
    assert!(here.open_invitation("other", 1).await.unwrap().is_none());
    let open = here.open_invitation("h", 99).await.unwrap().unwrap();
    let tries = (0..8).map(|i| {
        let store = if i % 2 == 0 { &here } else { &there };
        let who = Acceptance::New(format!("bob{i}@x"), "hash".into());
        let open = open.clone();
        async move { store.accept_invitation(&open, &who, 99).await }
    });
    let done = futures_util::future::join_all(tries).await;
    assert_eq!(done.iter().filter(|one| one.is_ok()).count(), 1, "{done:?}");
    assert_eq!(here.count_users().await.unwrap(), 2, "who came too late has no account");
    assert_eq!(here.list_team_members().await.unwrap()[0].role, TeamRole::Developer);
    assert!(here.open_invitation("h", 1).await.unwrap().is_none());
    // A failure spends nothing.
    let id = here.create_invitation(&NewInvitation { token_hash: "i".into(), ..new }).await.unwrap();
    let open = here.open_invitation("i", 1).await.unwrap().unwrap();
    let taken = here.accept_invitation(&open, &Acceptance::New("ann@x".into(), "hash".into()), 1).await;
    assert!(matches!(taken, Err(StoreError::Conflict { what: "user" })));
    assert!(here.open_invitation("i", 1).await.unwrap().is_some());
    assert!(matches!(here.delete_invitation(DEFAULT_ORG_ID, id).await, Err(StoreError::NotFound { .. })));
    here.delete_invitation(acme.id, id).await.unwrap();
}

fn ask() -> AccessAsk {
    AccessAsk {
        cluster: "prod-*".into(),
        namespaces: vec!["pay".into()],
        verbs: vec!["exec".into()],
        resources: vec!["pods".into()],
        api_groups: vec!["*".into()],
        seconds: 60,
        reason: "INC-1".into(),
    }
}

fn says(user: UserId, approved: bool, at_ms: i64) -> Decision {
    Decision { user, email: "ann@x".into(), approved, comment: String::new(), at_ms }
}

async fn a_request_becomes_a_grant_and_ends(bed: Bed) {
    let store = bed.store().await;
    let bob = store.create_user(new_user("bob@x", &[])).await.unwrap();
    let prod = store.ensure_agent_cluster("prod").await.unwrap();
    let new = NewAccessRequest { user: bob.id, ask: ask(), clusters: vec![prod], approvals_needed: 2 };
    let id = asked(&store, &new).await;
    assert_eq!(store.pending_access_requests(bob.id).await.unwrap(), 1);
    let request = store.access_request(id).await.unwrap().unwrap();
    assert_eq!(
        (request.email.as_str(), request.clusters.as_slice(), request.state),
        ("bob@x", &[prod][..], RequestState::Pending)
    );
    let (one, two) = (UserId::new(), UserId::new());
    assert_eq!(store.decide_access_request(&request, &says(one, true, 1_000)).await.unwrap(), Decided::Waiting);
    let again = store.decide_access_request(&request, &says(one, true, 1_001)).await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })), "nobody counts twice");
    assert!(store.live_grants().await.unwrap().is_empty());
    assert_eq!(store.decide_access_request(&request, &says(two, true, 2_000)).await.unwrap(), Decided::Granted(62_000));
    let late = store.decide_access_request(&request, &says(UserId::new(), false, 3_000)).await;
    assert!(matches!(late, Err(StoreError::NotFound { .. })));
    assert_eq!(store.live_grants().await.unwrap()[0].ends_at_ms, Some(62_000));
    assert!(store.sweep_access_requests(61_999, 0).await.unwrap().is_empty());
    assert_eq!(store.sweep_access_requests(62_000, 0).await.unwrap(), [id]);
    assert!(store.sweep_access_requests(62_000, 0).await.unwrap().is_empty());
    let ended = store.access_request(id).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.decisions.len()), (RequestState::Ended, 2));
    assert!(!store.end_access_request(id, 63_000).await.unwrap());
}

async fn a_request_can_be_denied_withdrawn_or_forgotten(bed: Bed) {
    let store = bed.store().await;
    let bob = store.create_user(new_user("bob@x", &[])).await.unwrap();
    let new = NewAccessRequest { user: bob.id, ask: ask(), clusters: vec![], approvals_needed: 1 };
    let state = async |id: AccessRequestId| store.access_request(id).await.unwrap().unwrap().state;
    let denied = asked(&store, &new).await;
    let request = store.access_request(denied).await.unwrap().unwrap();
    assert_eq!(store.decide_access_request(&request, &says(UserId::new(), false, 1)).await.unwrap(), Decided::Denied);
    let withdrawn = asked(&store, &new).await;
    assert!(store.end_access_request(withdrawn, 5).await.unwrap());
    let stale = asked(&store, &new).await;
    store.sweep_access_requests(0, i64::MAX).await.unwrap();
    assert_eq!(state(denied).await, RequestState::Denied);
    assert_eq!(state(withdrawn).await, RequestState::Ended);
    assert_eq!(state(stale).await, RequestState::Expired);
    assert_eq!(store.list_access_requests(2).await.unwrap().len(), 2);
}

on_both_engines!(
    everyone_and_everything_belongs_somewhere,
    teams_have_members_and_clusters,
    an_invitation_is_accepted_once,
    a_request_becomes_a_grant_and_ends,
    a_request_can_be_denied_withdrawn_or_forgotten,
);
