//! `flotilla auth ...`: what one may do, by the hub's policy and the cluster's own RBAC.

use flotilla_types::rights::{CanI, CanIAnswer, Check};

use crate::context::Context;
use crate::error::{CliError, plain};
use crate::hub_client::Call;
use crate::output::OutputArgs;

/// Ask what you may do
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla auth can-i create pods/exec -n pay")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Whether you may do something; exit code 1 if not
    ///
    /// Both are asked: the hub's policy, and the cluster itself, as you.
    #[command(
        name = "can-i",
        after_help = "Examples:
  flotilla auth can-i create pods/exec -n pay
  flotilla --cluster prod-eu auth can-i patch deployments.apps -n pay
  flotilla auth can-i get /metrics"
    )]
    CanI {
        /// A verb of the API server
        verb: String,
        /// Resource in the plural, as RESOURCE[.GROUP][/SUBRESOURCE], or a path
        resource: String,
        /// Name of the object
        name: Option<String>,
        /// Namespace; all namespaces, or none, when left out
        #[arg(short, long, default_value = "")]
        namespace: String,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Runs a subcommand.
///
/// # Errors
/// The hub's refusals, and when the answer is no.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let Command::CanI { verb, resource, name, namespace, output } = args.command;
    let check = Check { verb, namespace, name: name.unwrap_or_default(), ..what(&resource) };
    let cluster = context.cluster()?;
    let call = Call::post(&["api", "clusters", &cluster, "can-i"]).json(&CanI { checks: vec![check] })?;
    let answer: CanIAnswer = context.client()?.call(&call).await?;
    let result = answer.results.first().ok_or_else(|| CliError::general("the hub gave no answer"))?;
    context.output(output).show_text(&answer, |_| {
        let word = if result.allowed { "yes" } else { "no" };
        plain(&format!("{word} ({}: {})\n", result.by, result.reason))
    })?;
    if result.allowed {
        Ok(())
    } else {
        Err(CliError::general("not allowed").hint("ask for access with: flotilla request"))
    }
}

/// `pods/exec`, `deployments.apps`, `deployments.apps/scale`, `/metrics`.
fn what(text: &str) -> Check {
    if text.starts_with('/') {
        return Check { path: text.to_owned(), ..Check::default() };
    }
    let (resource, subresource) = text.split_once('/').unwrap_or((text, ""));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    Check {
        resource: resource.to_owned(),
        group: group.to_owned(),
        subresource: subresource.to_owned(),
        ..Check::default()
    }
}

#[cfg(test)]
mod tests {
    use super::what;

    #[test]
    fn resources_as_kubectl_writes_them() {
        let parts = |text| {
            let check = what(text);
            (check.resource, check.group, check.subresource, check.path)
        };
        let of = |a: &str, b: &str, c: &str, d: &str| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned());
        assert_eq!(parts("pods"), of("pods", "", "", ""));
        assert_eq!(parts("pods/exec"), of("pods", "", "exec", ""));
        assert_eq!(parts("deployments.apps/scale"), of("deployments", "apps", "scale", ""));
        assert_eq!(parts("leases.coordination.k8s.io"), of("leases", "coordination.k8s.io", "", ""));
        assert_eq!(parts("/metrics"), of("", "", "", "/metrics"));
    }
}
