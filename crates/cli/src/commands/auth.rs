//! `flotilla auth ...`: what one may do, by the hub's policy and the cluster's own RBAC.

use comfy_table::Cell;
use flotilla_types::rights::{BoundRule, CanI, CanIAnswer, Check, WhatCan, WhoCan};

use crate::context::Context;
use crate::error::{CliError, plain};
use crate::hub_client::Call;
use crate::output::{OutputArgs, Table, inline, list as words, paragraph, text};
use crate::terminal;

/// Ask what you may do, who can do something, and what somebody can do
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla auth can-i create pods/exec -n pay
  flotilla auth who-can delete pods -n pay
  flotilla auth what-can ann@example.com")]
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
    /// Who can do something: people by the hub's policy, and whoever the cluster's own RBAC names
    ///
    /// You see the people whose rights are yours to know, and the cluster's RBAC as far as it lets you read it.
    #[command(
        name = "who-can",
        after_help = "Examples:
  flotilla auth who-can create pods/exec -n pay
  flotilla --cluster prod-eu auth who-can delete nodes
  flotilla auth who-can get /metrics -o json"
    )]
    WhoCan {
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
    /// What somebody can do, by the hub's policy and by the cluster's own RBAC
    #[command(
        name = "what-can",
        after_help = "Examples:
  flotilla auth what-can
  flotilla --cluster prod-eu auth what-can ann@example.com -o yaml"
    )]
    WhatCan {
        /// Whose rights; yours when left out
        email: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Runs a subcommand.
///
/// # Errors
/// The hub's refusals, and of `can-i` when the answer is no.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.command {
        Command::CanI { verb, resource, name, namespace, output } => {
            let check = Check { verb, namespace, name: name.unwrap_or_default(), ..what(&resource) };
            can_i(context, check, output).await
        }
        Command::WhoCan { verb, resource, name, namespace, output } => {
            let check = Check { verb, namespace, name: name.unwrap_or_default(), ..what(&resource) };
            who_can(context, check, output).await
        }
        Command::WhatCan { email, output } => what_can(context, email, output).await,
    }
}

async fn can_i(context: &Context, check: Check, output: OutputArgs) -> Result<(), CliError> {
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

async fn who_can(context: &Context, check: Check, output: OutputArgs) -> Result<(), CliError> {
    let cluster = context.cluster()?;
    let resource = match (check.path.as_str(), check.subresource.as_str()) {
        ("", "") => check.resource,
        ("", subresource) => format!("{}/{subresource}", check.resource),
        (path, _) => path.to_owned(),
    };
    let query = [
        ("cluster", cluster),
        ("verb", check.verb),
        ("resource", resource),
        ("group", check.group),
        ("namespace", check.namespace),
        ("name", check.name),
    ];
    let query = query.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let answer: WhoCan = context.client()?.call(&Call::get(&["api", "explorer", "who-can"]).query(query)).await?;
    note(&answer.people_incomplete);
    note(&answer.cluster_unanswered);
    context.output(output).show_text(&answer, who)
}

fn note(reason: &str) {
    if !reason.is_empty() {
        terminal::note(reason);
    }
}

fn who(answer: &WhoCan) -> String {
    let people = Table::of(&["person", "by the hub's rule", "cluster", "binding"], &answer.people, |one| {
        let cluster = match one.cluster_allows {
            Some(true) => "yes",
            Some(false) => "no",
            None => "unknown",
        };
        vec![text(&one.email), text(&one.rule), text(cluster), text(&one.binding)]
    });
    let people = if answer.people.is_empty() { "nobody by the hub's policy\n".to_owned() } else { inline(people) };
    if !answer.cluster_unanswered.is_empty() {
        return people;
    }
    let subjects = Table::of(&["kind", "name", "binding", "role"], &answer.subjects, |one| {
        vec![text(&one.kind), text(&one.name), text(&one.binding), text(&one.role)]
    });
    format!("{people}\n{}", inline(subjects))
}

async fn what_can(context: &Context, email: Option<String>, output: OutputArgs) -> Result<(), CliError> {
    let mut query = vec![("cluster", context.cluster()?)];
    query.extend(email.map(|email| ("subject", email)));
    let answer: WhatCan = context.client()?.call(&Call::get(&["api", "explorer", "what-can"]).query(query)).await?;
    note(&answer.cluster_unanswered);
    context.output(output).show_text(&answer, what_somebody_can)
}

fn what_somebody_can(answer: &WhatCan) -> String {
    let groups = answer.groups.join(", ");
    let head = plain(&format!("{} arrives as {}, in groups: {groups}\n", answer.subject, answer.user));
    let hub = Table::of(&["role", "namespaces", "verbs", "resources", "groups"], &answer.hub, |one| {
        let rule = &one.rule;
        let resources = if rule.non_resource_urls.is_empty() { &rule.resources } else { &rule.non_resource_urls };
        let groups: Vec<String> = rule.api_groups.iter().map(|group| core(group)).collect();
        vec![text(&one.role), words(&rule.namespaces), words(&rule.verbs), words(resources), words(&groups)]
    });
    let hub = if answer.hub.is_empty() {
        "no rule of the hub's policy reaches the cluster\n".to_owned()
    } else {
        inline(hub)
    };
    if !answer.cluster_unanswered.is_empty() {
        return format!("{head}\n{hub}");
    }
    let cluster = Table::of(&["binding", "namespace", "verbs", "resources", "groups", "names"], &answer.cluster, bound);
    format!("{head}\n{hub}\n{}", inline(cluster))
}

fn bound(rule: &BoundRule) -> Vec<Cell> {
    let namespace = if rule.namespace.is_empty() { "*" } else { &rule.namespace };
    let resources: Vec<String> = rule.resources.iter().chain(&rule.paths).cloned().collect();
    let groups: Vec<String> = rule.groups.iter().map(|group| core(group)).collect();
    vec![
        text(&rule.binding),
        text(namespace),
        words(&rule.verbs),
        paragraph(&resources),
        paragraph(&groups),
        paragraph(&rule.names),
    ]
}

/// The core group has no name of its own.
fn core(group: &str) -> String {
    if group.is_empty() { "core".to_owned() } else { group.to_owned() }
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
