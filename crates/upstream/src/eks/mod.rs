//! Tokens for Amazon EKS: a presigned `GetCallerIdentity` of STS, which the cluster's authenticator sends on to learn
//! who signed it (<https://docs.aws.amazon.com/eks/latest/userguide/cluster-auth.html>; the form is that of
//! `aws-iam-authenticator`, `pkg/token/token.go`).
//!
//! ```text
//! k8s-aws-v1.<base64url of https://sts.<region>.amazonaws.com/?Action=GetCallerIdentity&...&X-Amz-Signature=...>
//! ```
//!
//! Must not know: requests to the API server, how a role is taken on.

mod keys;
mod sign;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;

use crate::credentials::bearer;
use crate::error::UpstreamError;
use crate::renewed::{Token, TokenSource};

pub use keys::AwsEnvironment;
use keys::Keys;
use sign::presign;

const PREFIX: &str = "k8s-aws-v1.";
/// Names the cluster that the token is for, inside the signature.
const CLUSTER_HEADER: &str = "x-k8s-aws-id";
/// `X-Amz-Expires`; the authenticator wants no more.
const EXPIRES: Duration = Duration::from_secs(60);
/// A cluster takes a token for 15 minutes after it was signed; one is for clocks that differ.
const LIFE: Duration = Duration::from_secs(14 * 60);

/// An EKS cluster and the role with which the hub goes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EksCluster {
    /// Its name at EKS.
    pub name: String,
    /// Its region.
    pub region: String,
}

/// Makes tokens.
pub(crate) struct Eks {
    cluster: EksCluster,
    endpoint: String,
    keys: Arc<Keys>,
}

impl Eks {
    pub(crate) fn new(cluster: EksCluster, environment: &AwsEnvironment) -> Result<Self, UpstreamError> {
        let plain =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !plain(&cluster.name) || !plain(&cluster.region) {
            return Err(UpstreamError::invalid(
                "EKS needs the cluster's name and region, such as prod and eu-central-1",
            ));
        }
        let endpoint = environment.sts_endpoint(&cluster.region);
        let keys = Arc::new(Keys::find(environment, &endpoint)?);
        Ok(Self { cluster, endpoint, keys })
    }

    async fn token(&self) -> Result<Token, UpstreamError> {
        let keys = self.keys.current().await?;
        let url = format!("{}/?Action=GetCallerIdentity&Version=2011-06-15", self.endpoint);
        let header = (CLUSTER_HEADER, self.cluster.name.as_str());
        let signed =
            presign(&url, &[header], &self.cluster.region, "sts", &keys.credentials, SystemTime::now(), EXPIRES)?;
        let lives = keys.left().map_or(LIFE, |left| left.min(LIFE));
        Ok(Token { value: bearer(&format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(signed)))?, lives })
    }
}

impl TokenSource for Eks {
    fn fetch(&self) -> BoxFuture<'_, Result<Token, UpstreamError>> {
        Box::pin(self.token())
    }
}
