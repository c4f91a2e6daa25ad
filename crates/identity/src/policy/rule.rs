//! One rule, prepared for matching, and the match itself.
//!
//! Must not know: roles, clusters, how a denial is worded.

use super::pattern::{Pattern, PatternList};
use super::words::Words;
use super::{Action, open};

/// A call, looked at once for all rules.
pub(super) struct Query<'a> {
    pub(super) action: Action<'a>,
    verb: Words,
    pub(super) kind: Kind,
}

/// Which of the rules of the contract a call falls under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Verbs decide.
    Plain,
    /// `<resource>/scale`: verbs, or the word `scale`.
    Scale,
    /// `<resource>/log`.
    Logs,
    /// `exec`, `attach`, `port-forward`: the word given.
    Session(Words),
    /// `<resource>/proxy`, and the verb `proxy` of the API server's oldest paths.
    Proxy,
    /// A path outside the resource API.
    Path,
}

impl<'a> Query<'a> {
    pub(super) fn new(action: &Action<'a>) -> Self {
        let kind = match action.subresource {
            _ if !action.path.is_empty() => Kind::Path,
            _ if action.verb == "proxy" => Kind::Proxy,
            "log" => Kind::Logs,
            "exec" => Kind::Session(Words::EXEC),
            "attach" => Kind::Session(Words::ATTACH),
            "portforward" => Kind::Session(Words::PORT_FORWARD),
            "proxy" => Kind::Proxy,
            "scale" => Kind::Scale,
            _ => Kind::Plain,
        };
        Self { action: *action, verb: Words::of_call(action.verb), kind }
    }
}

/// What a rule allows in the clusters that it reaches.
pub(super) enum Rights {
    /// Calls of the resource API.
    Resources(ResourceRights),
    /// Paths outside it.
    Paths {
        /// Methods.
        verbs: Words,
        /// Every path.
        all: bool,
        /// Patterns of paths.
        paths: PatternList,
    },
}

/// The lists of a rule on resources.
pub(super) struct ResourceRights {
    pub(super) verbs: Words,
    /// The namespaces contain `*` itself.
    pub(super) all_namespaces: bool,
    pub(super) namespaces: PatternList,
    pub(super) resources: Resources,
    pub(super) api_groups: PatternList,
    pub(super) names: PatternList,
    /// All lists are `*` and there are no names: paths outside the resource API are included.
    pub(super) everything: bool,
}

/// The `resources` of a rule.
pub(super) struct Resources {
    /// Contains `*` itself.
    pub(super) all: bool,
    /// Patterns without a slash.
    pub(super) plain: PatternList,
    /// Patterns with a slash: resource and subresource.
    pub(super) below: Box<[(Pattern, Pattern)]>,
}

impl Resources {
    /// Resource and subresource, as written.
    fn cover(&self, resource: &str, subresource: &str) -> bool {
        if self.all {
            return !resource.contains('/') && !subresource.contains('/');
        }
        if subresource.is_empty() {
            return self.plain.matches(resource);
        }
        self.below.iter().any(|(base, sub)| base.matches(resource) && sub.matches(subresource))
    }

    /// As [`Resources::cover`], but the resource alone is enough. For actions.
    fn cover_action(&self, resource: &str, subresource: &str) -> bool {
        self.cover(resource, subresource) || self.plain.matches(resource)
    }

    /// Whether a pattern names the subresource literally.
    fn name(&self, resource: &str, subresource: &str) -> bool {
        let named = |(base, sub): &(Pattern, Pattern)| base.matches(resource) && sub.literal() == Some(subresource);
        self.below.iter().any(named)
    }
}

impl Rights {
    pub(super) fn allow(&self, query: &Query<'_>) -> bool {
        match self {
            Self::Resources(rights) if query.kind == Kind::Path => {
                rights.everything && open::is_clean(query.action.path)
            }
            Self::Resources(rights) => rights.in_scope(query) && rights.grant(query),
            Self::Paths { verbs, all, paths } => {
                let method = verbs.has(query.verb) || (query.verb == Words::HEAD && verbs.has(Words::GET));
                query.kind == Kind::Path
                    && method
                    && (*all || paths.matches(query.action.path))
                    && open::is_clean(query.action.path)
            }
        }
    }
}

impl ResourceRights {
    fn in_scope(&self, query: &Query<'_>) -> bool {
        self.in_namespace(query) && self.in_group(query) && self.in_names(query)
    }

    pub(super) fn in_namespace(&self, query: &Query<'_>) -> bool {
        match query.action.namespace {
            "" => self.all_namespaces,
            namespace => self.namespaces.matches(namespace),
        }
    }

    pub(super) fn in_group(&self, query: &Query<'_>) -> bool {
        self.api_groups.matches(query.action.api_group)
    }

    pub(super) fn in_names(&self, query: &Query<'_>) -> bool {
        self.names.is_empty() || (!query.action.name.is_empty() && self.names.matches(query.action.name))
    }

    /// Verbs and resources, which only mean something together.
    pub(super) fn grant(&self, query: &Query<'_>) -> bool {
        let Action { resource, subresource, .. } = query.action;
        let by_word = |word| self.verbs.has(word) && self.resources.cover_action(resource, subresource);
        let by_name = |verb| self.verbs.has(verb) && self.resources.name(resource, subresource);
        match query.kind {
            Kind::Plain => self.verbs.has(query.verb) && self.resources.cover(resource, subresource),
            Kind::Scale => {
                let scaling = Words::GET.with(Words::UPDATE).with(Words::PATCH).has(query.verb);
                (self.verbs.has(query.verb) && self.resources.cover(resource, subresource))
                    || (scaling && by_word(Words::SCALE))
            }
            Kind::Logs => {
                let reading = self.verbs.is_all() || query.verb == Words::GET;
                (reading && by_word(Words::LOGS)) || by_name(query.verb)
            }
            Kind::Session(word) => by_word(word) || by_name(Words::CREATE),
            Kind::Proxy => by_word(Words::PROXY) || by_name(query.verb),
            Kind::Path => self.everything,
        }
    }

    /// Whether the resource is mentioned at all, in the most generous reading. For explanations.
    pub(super) fn mention(&self, query: &Query<'_>) -> bool {
        let Action { resource, subresource, .. } = query.action;
        match query.kind {
            Kind::Plain => self.resources.cover(resource, subresource),
            _ => self.resources.cover_action(resource, subresource),
        }
    }

    /// Whether the verb or word is held for something. For explanations.
    pub(super) fn hold_word(&self, query: &Query<'_>) -> bool {
        match query.kind {
            Kind::Plain | Kind::Path => self.verbs.has(query.verb),
            Kind::Scale => self.verbs.has(query.verb) || self.verbs.has(Words::SCALE),
            Kind::Logs => self.verbs.has(Words::LOGS),
            Kind::Session(word) => self.verbs.has(word),
            Kind::Proxy => self.verbs.has(Words::PROXY),
        }
    }
}
