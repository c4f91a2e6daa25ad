//! Where roles come from: built in, the roles file, the database; and who holds them. A name in the file hides
//! the same built-in one; both hide one in the database. A file that cannot be used changes nothing.
//!
//! Must not know: what a rule means (`flotilla_identity::policy`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use arc_swap::ArcSwap;
use flotilla_identity::policy::{PolicyError, PolicySet, Source, built_in_roles, compile as compile_policy};
use flotilla_types::name::normalize_email;
use flotilla_types::policy::{Role, RoleFile};
use parking_lot::Mutex;

use crate::config::GroupRule;
use crate::directory::Directory;
use crate::error::ApiError;

/// The roles in force.
pub struct RoleBook {
    path: Option<PathBuf>,
    file: ArcSwap<RoleFile>,
    database: Mutex<Vec<Role>>,
    /// What groups of the identity provider give.
    groups: Vec<GroupRule>,
    /// Teams and grants, which give roles too.
    directory: ArcSwap<Directory>,
    policy: Arc<ArcSwap<PolicySet>>,
}

impl RoleBook {
    /// Reads the roles file, if there is one, and compiles it with the roles of the database.
    ///
    /// # Errors
    /// The file cannot be read or says something that is not allowed; all its problems are named.
    pub fn open(
        path: Option<PathBuf>,
        database: Vec<Role>,
        groups: Vec<GroupRule>,
        directory: Directory,
    ) -> anyhow::Result<Self> {
        let file = path.as_deref().map(read).transpose()?.unwrap_or_default();
        let policy = compile(&file, &database, &groups, &directory)?;
        Ok(Self {
            path,
            groups,
            directory: ArcSwap::from_pointee(directory),
            file: ArcSwap::from_pointee(file),
            database: Mutex::new(database),
            policy: Arc::new(ArcSwap::from_pointee(policy)),
        })
    }

    /// The compiled policy, which changes under the holder when roles change.
    #[must_use]
    pub fn policy(&self) -> Arc<ArcSwap<PolicySet>> {
        Arc::clone(&self.policy)
    }

    /// Takes the database's roles as they are now.
    ///
    /// # Errors
    /// They do not compile; the policy stays as it was.
    pub fn set_database(&self, roles: Vec<Role>) -> anyhow::Result<()> {
        let policy = compile(&self.file.load(), &roles, &self.groups, &self.directory.load())?;
        *self.database.lock() = roles;
        self.policy.store(Arc::new(policy));
        Ok(())
    }

    /// Takes teams, ownership and grants as they are now. Whoever calls it then lets the authenticator forget.
    ///
    /// # Errors
    /// They do not compile; the policy stays as it was.
    pub fn set_directory(&self, directory: Directory) -> anyhow::Result<()> {
        let database = self.database.lock();
        let policy = compile(&self.file.load(), &database, &self.groups, &directory)?;
        self.directory.store(Arc::new(directory));
        self.policy.store(Arc::new(policy));
        Ok(())
    }

    /// Organisations, teams, ownership and grants as they are.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// The roles that groups of the identity provider give. Whoever signs somebody in with such groups adds them to
    /// those of [`RoleBook::effective`] and puts the groups into `LiveSession::groups`.
    #[must_use]
    pub fn of_groups(&self, groups: &[String]) -> Vec<String> {
        let given = self.groups.iter().filter(|rule| groups.contains(&rule.group));
        given.flat_map(|rule| self.directory.load().roles_of_group(rule)).collect()
    }

    /// Reads the roles file again.
    ///
    /// # Errors
    /// It cannot be used; the policy stays as it was.
    pub fn reload_file(&self) -> anyhow::Result<()> {
        let Some(path) = self.path.as_deref() else { return Ok(()) };
        let file = read(path)?;
        let policy = compile(&file, &self.database.lock(), &self.groups, &self.directory.load())?;
        self.file.store(Arc::new(file));
        self.policy.store(Arc::new(policy));
        Ok(())
    }

    /// When the roles file was last changed, to see whether it should be read again. Follows links, so that a
    /// mounted ConfigMap counts as changed when its link is moved.
    #[must_use]
    pub fn file_changed_at(&self) -> Option<(SystemTime, u64)> {
        let metadata = std::fs::metadata(self.path.as_deref()?).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }

    /// The roles of `email`: those of the database, and those that the file, teams and grants give, without duplicates.
    #[must_use]
    pub fn effective(&self, email: &str, mut roles: Vec<String>) -> Vec<String> {
        let file = self.file.load();
        let given = file.users.iter().filter(|user| normalize_email(&user.email).is_ok_and(|address| address == email));
        roles.extend(given.flat_map(|user| user.roles.iter().cloned()));
        roles.extend_from_slice(self.directory.load().held_by(email));
        roles.sort_unstable();
        roles.dedup();
        roles
    }

    /// Where the role of this name is written.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<String> {
        self.policy.load().roles().into_iter().find(|view| view.role.name == name).map(|view| view.source)
    }

    /// Refuses names of roles that do not exist.
    ///
    /// # Errors
    /// Names the unknown ones and those that there are.
    pub fn check_known(&self, names: &[String]) -> Result<(), ApiError> {
        let known: Vec<String> = self.policy.load().roles().into_iter().map(|view| view.role.name).collect();
        let unknown: Vec<&str> = names.iter().filter(|name| !known.contains(name)).map(String::as_str).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid(format!("no such role: {}; there are {}", unknown.join(", "), known.join(", "))))
    }

    /// Refuses a role that would not compile.
    ///
    /// # Errors
    /// Names all its problems.
    pub fn check_role(&self, role: &Role) -> Result<(), ApiError> {
        compile_policy(vec![(role.clone(), Source::Database)])
            .map(drop)
            .map_err(|errors| ApiError::invalid(listed(&errors)))
    }

    /// Refuses changes to what is not in the database.
    ///
    /// # Errors
    /// There is no such role, or it is built in or in the file.
    pub fn check_changeable(&self, name: &str) -> Result<(), ApiError> {
        match self.source(name).as_deref() {
            Some("database") => Ok(()),
            Some(source) => Err(ApiError::conflict(format!(
                "role {name} is {source}; only roles in the database can be changed here"
            ))),
            None => Err(ApiError::not_found(format!("there is no role {name:?}; list them with: flotilla roles list"))),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<RoleFile> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("roles file {} cannot be read", path.display()))?;
    if text.trim().is_empty() {
        return Ok(RoleFile::default());
    }
    serde_saphyr::from_str(&text).with_context(|| format!("roles file {} is not valid", path.display()))
}

/// Database, then built-in, then file: the later hides the earlier of the same name.
fn compile(
    file: &RoleFile,
    database: &[Role],
    groups: &[GroupRule],
    directory: &Directory,
) -> anyhow::Result<PolicySet> {
    let mut roles: BTreeMap<String, (Role, Source)> = BTreeMap::new();
    let built_in = built_in_roles().into_iter().map(|role| (role, Source::BuiltIn));
    let stored = database.iter().cloned().map(|role| (role, Source::Database));
    for (role, source) in stored.chain(built_in) {
        roles.insert(role.name.clone(), (role, source));
    }
    let mut seen = std::collections::BTreeSet::new();
    for role in &file.roles {
        anyhow::ensure!(seen.insert(&role.name), "role {} stands twice in the roles file", role.name);
        roles.insert(role.name.clone(), (role.clone(), Source::File));
    }
    for user in &file.users {
        normalize_email(&user.email)?;
        if let Some(unknown) = user.roles.iter().find(|name| !roles.contains_key(*name)) {
            anyhow::bail!("the roles file gives {} the role {unknown:?}, which does not exist", user.email);
        }
    }
    let derived = directory.derived(groups, |name| roles.get(name).map(|(role, _)| role.clone()));
    compile_policy(roles.into_values().collect())
        .and_then(|set| set.with_derived(derived, directory.modes()))
        .map_err(|errors| anyhow::anyhow!(listed(&errors)))
}

fn listed(errors: &[PolicyError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
