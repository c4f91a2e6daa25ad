//! Reads a cluster's RBAC as somebody, by the one way there is: who may not read it himself learns nothing of it here.
//!
//! Must not know: what is asked of it.

use std::time::Duration;

use flotilla_cluster::gate::NotAudited;
use flotilla_cluster::rbac::{Binding, GROUP, Rbac, Role};
use flotilla_cluster::request::{ClusterRef, ClusterRequest, RequestContext as ClusterContext};
use flotilla_cluster::{Body, empty};
use flotilla_types::status::Status;
use flotilla_upstream::check::read_up_to;
use futures_util::{FutureExt, TryFutureExt, future};
use http::{Request, Response, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::hub::Hub;
use crate::request::caller::Caller;

/// Longest wait for all of it.
const DEADLINE: Duration = Duration::from_secs(20);

/// Objects that are asked for at a time.
const PAGE: usize = 500;

/// Most pages of one kind.
const MAX_PAGES: usize = 40;

/// Most bytes of a page.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Which roles and bindings a question needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent<'a> {
    /// Those of the whole cluster.
    ClusterWide,
    /// Those, and those of a namespace.
    Namespace(&'a str),
    /// All.
    Everywhere,
}

/// One page of a list of Kubernetes.
#[derive(Deserialize)]
struct List<T> {
    #[serde(default)]
    metadata: ListMetadata,
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ListMetadata {
    r#continue: String,
}

/// Someone who reads.
struct Reader<'a> {
    hub: &'a Hub,
    caller: &'a Caller,
    cluster: &'a ClusterRef,
    route: &'static str,
}

/// Reads roles and bindings as `caller`, for the route of this pattern.
///
/// # Errors
/// Why they could not be read, for him: mostly which right he lacks.
pub async fn read(
    hub: &Hub,
    caller: &Caller,
    cluster: &ClusterRef,
    extent: Extent<'_>,
    route: &'static str,
) -> Result<Rbac, String> {
    let reader = Reader { hub, caller, cluster, route };
    let late = |_| format!("the cluster's RBAC could not be read within {} s", DEADLINE.as_secs());
    tokio::time::timeout(DEADLINE, reader.all(extent)).map_err(late).await?
}

impl Reader<'_> {
    async fn all(&self, extent: Extent<'_>) -> Result<Rbac, String> {
        let (roles, bindings) =
            future::try_join(self.list::<Role>("clusterroles"), self.list::<Binding>("clusterrolebindings")).await?;
        let mut rbac = Rbac::default();
        rbac.add_roles(roles);
        rbac.add_bindings(bindings);
        let place = match extent {
            Extent::ClusterWide => return Ok(rbac),
            Extent::Everywhere => String::new(),
            Extent::Namespace(namespace) => format!("namespaces/{}/", encoded(namespace)),
        };
        let (roles, bindings) = (format!("{place}roles"), format!("{place}rolebindings"));
        let (roles, bindings) = future::try_join(self.list::<Role>(&roles), self.list::<Binding>(&bindings)).await?;
        rbac.add_roles(roles);
        rbac.add_bindings(bindings);
        Ok(rbac)
    }

    /// All objects of a kind, page by page.
    async fn list<T: DeserializeOwned + Send>(&self, kind: &str) -> Result<Vec<T>, String> {
        let (mut found, mut after) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let rest = if after.is_empty() { after } else { format!("&continue={}", encoded(&after)) };
            let path = format!("/apis/{GROUP}/v1/{kind}?limit={PAGE}{rest}");
            // Boxed: the way to a cluster is long, and four of these are under way at a time.
            let page: List<T> = self.get(&path).boxed().await?;
            found.extend(page.items.unwrap_or_default());
            after = page.metadata.r#continue;
            if after.is_empty() {
                return Ok(found);
            }
        }
        Err(format!("the cluster has more than {} {kind}, which is more than is looked through", PAGE * MAX_PAGES))
    }

    async fn get<T: DeserializeOwned + Send>(&self, path: &str) -> Result<T, String> {
        let request = Request::get(path).header(header::ACCEPT, "application/json").body(empty());
        let request = request.map_err(|error| error.to_string())?;
        let response = self.send(request).await?;
        let status = response.status();
        let bytes = read_up_to(response.into_body(), MAX_BYTES).await;
        let bytes =
            bytes.ok_or_else(|| format!("the cluster's answer broke off, or has more than {MAX_BYTES} bytes"))?;
        if status.is_success() {
            return serde_json::from_slice(&bytes)
                .map_err(|error| format!("the cluster's answer makes no sense: {error}"));
        }
        let message = serde_json::from_slice::<Status>(&bytes).map(|status| status.message).unwrap_or_default();
        Err(format!("the cluster does not let you read its RBAC ({}): {message}", status.as_u16()))
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, String> {
        let request = ClusterRequest::new(self.cluster.clone(), request).map_err(|error| error.to_string())?;
        let context = ClusterContext {
            request_id: self.caller.context.request_id.clone(),
            route: self.route,
            address: self.caller.context.address,
        };
        let authorized = match self.hub.gate.authorize(&self.caller.principal, request, &context) {
            Ok(authorized) => authorized,
            Err(denied) => {
                self.hub.gate.audit_denied(&denied).await.map_err(|error| error.to_string())?;
                return Err(format!("the hub's policy does not let you read the cluster's RBAC: {}", denied.reason()));
            }
        };
        let audited = self.hub.gate.audit(authorized).await.map_err(|error: NotAudited| error.to_string())?;
        self.hub.transport.send(audited).await.map_err(|error| error.to_string())
    }
}

/// As one segment of a path or one value of a query.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
