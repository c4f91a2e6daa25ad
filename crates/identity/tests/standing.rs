//! Properties of the hierarchical permission check, over all standings there are.

#![allow(clippy::unwrap_used, reason = "tests")]

use flotilla_identity::standing::{Act, Standing, Verdict};
use flotilla_types::org::{OrgRole, TeamRole};

fn all() -> Vec<Standing> {
    let orgs: Vec<Option<OrgRole>> = std::iter::once(None).chain(OrgRole::ALL.iter().copied().map(Some)).collect();
    let teams: Vec<Option<TeamRole>> = std::iter::once(None).chain(TeamRole::ALL.iter().copied().map(Some)).collect();
    let mut standings = Vec::new();
    for platform_admin in [false, true] {
        for org in &orgs {
            standings.extend(teams.iter().map(|team| Standing { platform_admin, org: *org, team: *team }));
        }
    }
    standings
}

fn allowed(standing: Standing, act: Act) -> bool {
    matches!(standing.may(act), Verdict::Allowed(_))
}

#[test]
fn more_is_never_less() {
    for a in all() {
        for b in all() {
            if a.platform_admin <= b.platform_admin && a.org <= b.org && a.team <= b.team {
                for act in Act::ALL {
                    assert!(!allowed(a, act) || allowed(b, act), "{a:?} may {act:?} and {b:?} may not");
                }
            }
        }
    }
}

#[test]
fn a_role_in_a_team_never_reaches_the_organisation() {
    for standing in all().into_iter().filter(|one| !one.platform_admin && one.org.is_none_or(|r| r == OrgRole::Member))
    {
        for act in [Act::ManageOrg, Act::ManageOwners, Act::ManagePlatform] {
            assert!(!allowed(standing, act), "{standing:?} {act:?}");
        }
    }
}

#[test]
fn only_the_platform_is_above_organisations() {
    for standing in all() {
        assert_eq!(allowed(standing, Act::ManagePlatform), standing.platform_admin, "{standing:?}");
        let owner = standing.platform_admin || standing.org == Some(OrgRole::Owner);
        assert_eq!(allowed(standing, Act::ManageOwners), owner, "{standing:?}");
    }
}

#[test]
fn who_stands_nowhere_learns_nothing_and_who_stands_somewhere_learns_what_is_missing() {
    for standing in all() {
        let nowhere = standing == Standing::default();
        for act in Act::ALL {
            match standing.may(act) {
                Verdict::Invisible => assert!(nowhere, "{standing:?}"),
                Verdict::Denied(reason) => {
                    assert!(!nowhere && reason.contains("this needs") && reason.contains("here you are"), "{reason}");
                }
                Verdict::Allowed(by) => assert!(!nowhere && !by.is_empty()),
            }
        }
        assert!(nowhere || allowed(standing, Act::See));
    }
}
