//! The table of contents of the people's API. Every route stands here once; its document (OpenAPI 3.1)
//! is made from the same line. Aliases are in `mount`.
//!
//! Must not know: how anything is done.

pub mod access_requests;
pub mod acts;
pub mod agents;
pub mod api_keys;
pub mod audit;
pub mod auth;
pub mod can_i;
pub mod cluster_care;
pub mod cluster_shares;
pub mod clusters;
pub mod console;
pub mod device;
pub mod explorer;
pub mod gateway;
pub mod invitation_page;
pub mod invitations;
pub mod meta;
pub mod orgs;
pub mod recordings;
mod redirect;
pub mod roles;
pub mod sessions;
pub mod sign_in;
pub mod streams;
pub mod teams;
pub mod tickets;
pub mod users;

use std::sync::Arc;

use axum::Router;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::hub::Hub;

#[derive(OpenApi)]
#[openapi(
    info(title = "Flotilla", description = "One hub for every Kubernetes cluster of an organisation. Errors are problem details (RFC 9457). \
        The Kubernetes API of each cluster is at /k8s/clusters/{cluster}/."),
    tags(
        (name = "auth", description = "Sign-in"),
        (name = "clusters", description = "Clusters and commands on them"),
        (name = "users", description = "Accounts"),
        (name = "roles", description = "Policy"),
        (name = "agents", description = "Enrolment of agents"),
        (name = "orgs", description = "Organisations, teams, invitations"),
        (name = "access", description = "What one may do, and access on request"),
        (name = "audit", description = "Who did what"),
        (name = "recordings", description = "Recorded shells and open streams"),
        (name = "hub", description = "The hub itself"),
    )
)]
struct Document;

fn documented() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(auth::login))
        .routes(routes!(auth::refresh))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::logout_everywhere))
        .routes(routes!(auth::change_password))
        .routes(routes!(sign_in::config))
        .routes(routes!(sign_in::page, sign_in::password))
        .routes(routes!(sign_in::begin))
        .routes(routes!(sign_in::callback))
        .routes(routes!(sign_in::google_callback))
        .routes(routes!(sign_in::github))
        .routes(routes!(sign_in::github_callback))
        .routes(routes!(sign_in::authorize))
        .routes(routes!(sign_in::hand_over_callback))
        .routes(routes!(sign_in::exchange))
        .routes(routes!(sign_in::sign_out))
        .routes(routes!(sign_in::backchannel_logout))
        .routes(routes!(sign_in::developer))
        .routes(routes!(sign_in::style))
        .routes(routes!(device::page, device::begin))
        .routes(routes!(device::approve))
        .routes(routes!(device::token))
        .routes(routes!(device::command_line, device::approve_command_line))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(api_keys::list, api_keys::create))
        .routes(routes!(api_keys::get, api_keys::update, api_keys::revoke))
        .routes(routes!(tickets::create))
        .routes(routes!(meta::whoami))
        .routes(routes!(clusters::list, clusters::create))
        .routes(routes!(cluster_care::show, cluster_care::update, clusters::remove))
        .routes(routes!(cluster_care::status))
        .routes(routes!(cluster_care::test))
        .routes(routes!(cluster_care::refresh))
        .routes(routes!(cluster_care::credentials))
        .routes(routes!(cluster_shares::set_default, cluster_shares::clear_default))
        .routes(routes!(cluster_shares::list, cluster_shares::share, cluster_shares::unshare))
        .routes(routes!(clusters::exec))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::remove))
        .routes(routes!(users::set_roles))
        .routes(routes!(users::reset_password))
        .routes(routes!(roles::list, roles::create))
        .routes(routes!(roles::replace, roles::remove))
        .routes(routes!(agents::create_token))
        .routes(routes!(agents::list))
        .routes(routes!(agents::revoke))
        .routes(routes!(agents::register))
        .routes(routes!(agents::connect))
        .routes(routes!(orgs::me))
        .routes(routes!(orgs::list, orgs::create))
        .routes(routes!(orgs::show, orgs::update, orgs::remove))
        .routes(routes!(orgs::members, orgs::put_member))
        .routes(routes!(orgs::remove_member))
        .routes(routes!(orgs::clusters))
        .routes(routes!(orgs::put_cluster))
        .routes(routes!(orgs::admin_users))
        .routes(routes!(teams::list, teams::create))
        .routes(routes!(teams::show, teams::remove))
        .routes(routes!(teams::set_policy))
        .routes(routes!(teams::members, teams::put_member))
        .routes(routes!(teams::remove_member))
        .routes(routes!(teams::share, teams::unshare))
        .routes(routes!(invitations::invite_to_org))
        .routes(routes!(invitations::invite_to_team))
        .routes(routes!(invitations::list))
        .routes(routes!(invitations::remove))
        .routes(routes!(invitations::accept))
        .routes(routes!(invitation_page::show, invitation_page::answer))
        .routes(routes!(access_requests::list, access_requests::create))
        .routes(routes!(access_requests::show))
        .routes(routes!(access_requests::approve))
        .routes(routes!(access_requests::deny))
        .routes(routes!(access_requests::end))
        .routes(routes!(can_i::can_i))
        .routes(routes!(explorer::who_can))
        .routes(routes!(explorer::what_can))
        .routes(routes!(audit::list))
        .routes(routes!(audit::timeline))
        .routes(routes!(audit::keys))
        .routes(routes!(audit::verify))
        .routes(routes!(audit::export))
        .routes(routes!(recordings::list))
        .routes(routes!(recordings::show))
        .routes(routes!(recordings::cast))
        .routes(routes!(recordings::search))
        .routes(routes!(recordings::live))
        .routes(routes!(streams::list))
        .routes(routes!(streams::terminate))
        .routes(routes!(meta::config))
        .routes(routes!(meta::features))
        .routes(routes!(meta::jwks))
        .routes(routes!(meta::health))
        .routes(routes!(meta::healthz))
        .routes(routes!(meta::readyz))
        .routes(routes!(meta::openapi))
}

/// The router of the people's listener.
pub fn router(hub: Arc<Hub>) -> Router {
    let (router, _) = documented().split_for_parts();
    router.fallback(console::serve).method_not_allowed_fallback(method_not_allowed).with_state(hub)
}

/// The OpenAPI document.
#[must_use]
pub fn openapi_document() -> utoipa::openapi::OpenApi {
    let mut document = documented().split_for_parts().1;
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("get", &mut item.get),
            ("put", &mut item.put),
            ("post", &mut item.post),
            ("delete", &mut item.delete),
            ("patch", &mut item.patch),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            operation.operation_id = Some(operation_id(method, path));
            let stability = stability(path, operation.tags.as_deref().unwrap_or_default());
            operation.extensions.get_or_insert_default().insert("x-stability".to_owned(), stability.into());
        }
    }
    document
}

/// An operation's name, of its method and path (`get_clusters_id_share`). The functions' own names would repeat, and
/// generators of clients rely on it that they do not (OpenAPI 3.1, Operation Object).
fn operation_id(method: &str, path: &str) -> String {
    let words = path.strip_prefix("/api").unwrap_or(path);
    let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

/// How far clients may rely on an operation: `stable` ones change only with a new major version, `beta` ones with a
/// note in the change log, `internal` ones are for the hub's own pages and agents and change at any time.
fn stability(path: &str, tags: &[String]) -> &'static str {
    let pages =
        ["/login", "/logout", "/dev/", "/auth/cli", "/auth/style", "/auth/device/approve", "/oauth2/", "/debug/"];
    if pages.iter().any(|page| path.starts_with(page)) || path.starts_with("/api/agents/connect") {
        return "internal";
    }
    match tags.first().map(String::as_str) {
        Some("auth" | "clusters" | "users" | "roles" | "agents" | "audit" | "hub") => "stable",
        _ => "beta",
    }
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(
        http::StatusCode::METHOD_NOT_ALLOWED,
        flotilla_types::problem::Code::MethodNotAllowed,
        "this path does not take this method; the API is described at /api/openapi.json",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn no_two_operations_and_no_two_shapes_share_a_name() {
        let document = serde_json::to_value(super::openapi_document()).unwrap();
        let mut seen = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(seen.insert(id.to_owned()), "{method} {path} is called {id}, as another one is");
            }
        }
        assert!(seen.len() > 80, "{}", seen.len());
        // Two different answers that were once both called TokenResponse.
        let shapes = &document["components"]["schemas"];
        assert!(shapes["EnrolmentToken"]["properties"]["manifest"].is_object());
        assert!(shapes["TokenResponse"]["properties"]["refresh_token"].is_object());
        assert_eq!(shapes["OrgRole"]["enum"][0], "org_member", "words as they are sent, not as they are called here");
    }
}
